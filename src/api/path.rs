//! Segments of URL paths: how names travel in them, both ways.

/// Why a segment of a path is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("a `%` in the path is not followed by two hexadecimal digits")]
    Escape,
    #[error("the path is not UTF-8")]
    Text,
}

/// A name as one segment of a path: everything but letters, digits, `-`, `.`, `_`, `~` is escaped, `/` too.
#[must_use]
pub fn segment(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

/// The name that a segment of a path stands for.
///
/// # Errors
/// An escape is broken, or the bytes are not UTF-8.
pub fn name(segment: &str) -> Result<String, SegmentError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else { return Err(SegmentError::Escape) };
            bytes.push(u8::try_from(high * 16 + low).map_err(|_too_large| SegmentError::Escape)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_not_utf8| SegmentError::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_way_through_a_path() {
        for text in ["left-pad", "@scope/pkg", "größe 1%", "a+b", "..", "100%25", ""] {
            assert_eq!(name(&segment(text)).unwrap(), text);
            assert!(!segment(text).contains('/'));
        }
    }

    #[test]
    fn broken_escapes_and_bytes_are_refused() {
        assert_eq!(name("a%"), Err(SegmentError::Escape));
        assert_eq!(name("a%2"), Err(SegmentError::Escape));
        assert_eq!(name("a%zz"), Err(SegmentError::Escape));
        assert_eq!(name("a%ff"), Err(SegmentError::Text));
    }
}
