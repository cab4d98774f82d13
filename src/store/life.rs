//! The two small files beside the packs: FORMAT, which life this folder is in, and CHECKPOINT, how far the index is known to be whole.

use std::io;

use data_encoding::HEXLOWER;
use protocol::id::StoreId;

use super::disk::Disk;
use super::packs::Start;

const FORMAT: &str = "FORMAT";
const CHECKPOINT: &str = "CHECKPOINT";

/// The version of everything on disk that this program reads and writes.
const VERSION: u32 = 1;

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

    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, FormatError> {
        disk.read_small(FORMAT)?.map(Self::decode).transpose()
    }

    /// What the bytes of FORMAT say.
    pub(crate) fn decode(bytes: Vec<u8>) -> Result<Self, FormatError> {
        let text = String::from_utf8(bytes).map_err(|_not_text| FormatError::Damaged)?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).ok_or(FormatError::Damaged)
        };
        let version = field("packetboat-store ")?.parse().map_err(|_number| FormatError::Damaged)?;
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let bytes = |name: &str| {
            let text = field(name)?;
            HEXLOWER.decode(text.as_bytes()).map_err(|_hex| FormatError::Damaged)
        };
        let generation = bytes("generation ")?.try_into().map_err(|_length| FormatError::Damaged)?;
        let salt = bytes("salt ")?.try_into().map_err(|_length| FormatError::Damaged)?;
        Ok(Self { generation: u128::from_be_bytes(generation), salt })
    }

    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.write_small(FORMAT, self.encode().as_bytes())
    }

    /// The bytes of FORMAT.
    pub(crate) fn encode(&self) -> String {
        let generation = HEXLOWER.encode(&self.generation.to_be_bytes());
        let salt = HEXLOWER.encode(&self.salt);
        format!("packetboat-store {VERSION}\ngeneration {generation}\nsalt {salt}\n")
    }
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
