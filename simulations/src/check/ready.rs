//! What counts as whole is whole: every byte of what is served can be read.

use packetboat::store::BlobState;
use protocol::id::BlobId;
use protocol::op::Body;

use crate::oracle::Seen;
use crate::site::Site;

/// Looks once everything came to rest, and every site was scrubbed where bits have rotted.
///
/// # Errors
/// Which bytes are not what was told of them.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for site in seen.sites {
        for (name, item) in site.items(seen.now, seen.feed) {
            let winner = item.winner.and_then(|id| site.store().op(id).ok().flatten());
            if let Some(Body::Publish(publish)) = winner.map(|named| named.op.body) {
                let mut files = publish.manifest.files.iter();
                if files.any(|file| !is_readable(site, file.blob, file.size)) {
                    return Err(format!("{} counts {name} as whole and cannot read it", site.name));
                }
            }
        }
    }
    Ok(())
}

/// Whether a blob can be read, if it counts as whole. What does not is another check's.
fn is_readable(site: &Site, blob: BlobId, size: u64) -> bool {
    if !matches!(site.store().blob_state(blob), Ok(BlobState::Complete { .. })) {
        return true;
    }
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    site.store().read_at(blob, 0, length).is_ok_and(|bytes| *blake3::hash(&bytes).as_bytes() == blob.0)
}
