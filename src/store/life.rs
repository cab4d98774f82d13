//! The small files beside the packs: FORMAT, which life this folder is in, twice, and CHECKPOINT, how far the index is known to be whole.

#[cfg(test)]
mod tests;

use std::io;

use data_encoding::HEXLOWER;
use protocol::id::StoreId;

use super::disk::Disk;
use super::packs::Start;

const FORMAT: &str = "FORMAT";

/// The same bytes beside it: without the salt no record can be told from other bytes, so that one flipped bit would take every pack.
const SPARE: &str = "FORMAT.spare";

/// The files that say which life a folder is in: FORMAT, which goes first, and its spare.
pub const FORMAT_FILES: [&str; 2] = [FORMAT, SPARE];

const CHECKPOINT: &str = "CHECKPOINT";

/// The version of everything on disk that this program reads and writes.
const VERSION: u32 = 1;

/// The line of FORMAT that the others hash to.
const CHECK: &str = "check ";

/// How FORMAT and its spare were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copies {
    Whole,
    /// One of them is not there yet, or of before it was written last; nothing is wrong.
    Lacking,
    /// One of them is not what was written.
    Rotted,
}

/// What FORMAT says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// New at creation and after every restore.
    pub(crate) generation: u128,
    /// Keys the seals of record headers. Never leaves the folder and never changes.
    pub(crate) salt: [u8; 32],
}

/// Why FORMAT cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("FORMAT cannot be read")]
    Io(#[from] io::Error),
    #[error("FORMAT is damaged")]
    Damaged,
    #[error("FORMAT has version {0}")]
    Version(u32),
}

impl Life {
    /// A life for a new folder.
    pub(crate) fn new(generation: u128) -> Self {
        Self {
            generation,
            salt: blake3::derive_key("packetboat 2026 record seal", &generation.to_be_bytes()),
        }
    }

    /// The first eight bytes of the generation: what peers know this life by.
    pub(crate) fn id(&self) -> StoreId {
        let bytes = self.generation.to_be_bytes();
        StoreId(bytes.first_chunk::<8>().copied().unwrap_or_default())
    }

    /// The life of a folder, and how FORMAT and its spare were found. FORMAT goes first wherever it is whole: the spare may be of before it was
    /// written last.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<(Self, Copies)>, FormatError> {
        let (format, spare) = (Self::read_one(disk, FORMAT), Self::read_one(disk, SPARE));
        match (format, spare) {
            (Ok(Some((life, checked))), spare) => {
                let copies = match spare {
                    Ok(Some((other, true))) if checked && other == life => Copies::Whole,
                    Ok(_) => Copies::Lacking,
                    Err(_) => Copies::Rotted,
                };
                Ok(Some((life, copies)))
            }
            (Ok(None) | Err(FormatError::Damaged), Ok(Some((life, true)))) if !life.is_before(disk) => {
                Ok(Some((life, Copies::Rotted)))
            }
            (format, _) => format.map(|_none| None),
        }
    }

    fn read_one(disk: &dyn Disk, name: &str) -> Result<Option<(Self, bool)>, FormatError> {
        let read = |bytes: Vec<u8>| Ok((Self::decode(&bytes)?, has_check(&bytes)));
        disk.read_small(name)?.map(read).transpose()
    }

    /// Whether the folder was in another life since: the checkpoint names the one that it was last opened in.
    fn is_before(&self, disk: &dyn Disk) -> bool {
        let checkpoint = Checkpoint::read(disk).ok().flatten();
        checkpoint.is_some_and(|checkpoint| checkpoint.generation != self.generation)
    }

    /// What the bytes of FORMAT say, if they are whole. Those of before there was a check cannot tell.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let text = str::from_utf8(bytes).map_err(|_not_text| FormatError::Damaged)?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).ok_or(FormatError::Damaged)
        };
        let version: u32 = field("packetboat-store ")?.parse().map_err(|_number| FormatError::Damaged)?;
        let life = Self::fields(field);
        if version != VERSION {
            // A newer program writes other lines behind its version; with those of this one a digit rotted.
            let behind = |text: &str| text.split_once('\n').map(|(_, behind)| behind.to_owned());
            let rotted = life.is_ok_and(|life| behind(&life.encode()) == behind(text));
            return Err(if rotted { FormatError::Damaged } else { FormatError::Version(version) });
        }
        let life = life?;
        if text == life.encode() || text.trim_end() == life.lines().trim_end() {
            Ok(life)
        } else {
            Err(FormatError::Damaged)
        }
    }

    fn fields<'a>(field: impl Fn(&str) -> Result<&'a str, FormatError>) -> Result<Self, FormatError> {
        let bytes = |name: &str| {
            let text = field(name)?;
            HEXLOWER.decode(text.as_bytes()).map_err(|_hex| FormatError::Damaged)
        };
        let generation = bytes("generation ")?.try_into().map_err(|_length| FormatError::Damaged)?;
        let salt = bytes("salt ")?.try_into().map_err(|_length| FormatError::Damaged)?;
        Ok(Self { generation: u128::from_be_bytes(generation), salt })
    }

    /// Writes FORMAT and then its spare.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        FORMAT_FILES.iter().try_for_each(|name| disk.write_small(name, self.encode().as_bytes()))
    }

    /// The bytes of FORMAT. Programs of before there was a check read them without it.
    pub(crate) fn encode(&self) -> String {
        let lines = self.lines();
        let check = blake3::hash(lines.as_bytes()).to_hex();
        format!("{lines}{CHECK}{check}\n")
    }

    fn lines(&self) -> String {
        let generation = HEXLOWER.encode(&self.generation.to_be_bytes());
        let salt = HEXLOWER.encode(&self.salt);
        format!("packetboat-store {VERSION}\ngeneration {generation}\nsalt {salt}\n")
    }
}

fn has_check(format: &[u8]) -> bool {
    str::from_utf8(format).is_ok_and(|text| text.lines().any(|line| line.starts_with(CHECK)))
}

/// What CHECKPOINT says: the index of this generation that has seen checkpoint `number` holds everything before `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    pub(crate) generation: u128,
    pub(crate) number: u64,
    pub(crate) start: Start,
}

impl Checkpoint {
    /// The checkpoint on disk. A damaged one is none: everything is then read from the packs.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        Ok(disk.read_small(CHECKPOINT)?.and_then(|bytes| Self::decode(&bytes)))
    }

    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.start.pack.to_be_bytes());
        bytes.extend_from_slice(&self.start.offset.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        disk.write_small(CHECKPOINT, &bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let (generation, rest) = body.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (pack, rest) = rest.split_first_chunk::<4>()?;
        let offset: [u8; 8] = rest.try_into().ok()?;
        (crc32fast::hash(body).to_be_bytes() == *crc).then_some(Self {
            generation: u128::from_be_bytes(*generation),
            number: u64::from_be_bytes(*number),
            start: Start { pack: u32::from_be_bytes(*pack), offset: u64::from_be_bytes(offset) },
        })
    }
}
