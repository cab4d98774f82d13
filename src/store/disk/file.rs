//! A [`Disk`] on a folder of the operating system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, Held, PackFile};

const LOCK: &str = "LOCK";
const PACKS: &str = "packs";
const PACK_ENDING: &str = ".pak";
const ROOM: &str = "ROOM";

/// A folder: `LOCK`, small files beside it, and `packs/00000001.pak` onwards.
#[derive(Debug, Clone)]
pub struct Folder {
    folder: PathBuf,
}

impl Folder {
    /// Takes `folder` as it is, or makes it.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let packs = folder.join(PACKS);
        if !packs.is_dir() {
            fs::create_dir_all(&packs)?;
            sync_folder(folder)?;
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_folder(parent)?;
            }
        }
        Ok(Self { folder: folder.to_path_buf() })
    }

    fn pack(&self, pack: u32) -> PathBuf {
        self.folder.join(PACKS).join(format!("{pack:08}{PACK_ENDING}"))
    }
}

impl Disk for Folder {
    fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    fn lock(&self) -> io::Result<Box<dyn Held>> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.folder.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(HeldFile { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn packs(&self) -> io::Result<Vec<u32>> {
        let mut packs = Vec::new();
        for entry in fs::read_dir(self.folder.join(PACKS))? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(PACK_ENDING));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                packs.push(number);
            }
        }
        Ok(packs)
    }

    fn create_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.pack(pack))?;
        file.sync_all()?;
        sync_folder(&self.folder.join(PACKS))?;
        Ok(Arc::new(OpenPack { file }))
    }

    fn open_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.pack(pack))?;
        Ok(Arc::new(OpenPack { file }))
    }

    fn remove_pack(&self, pack: u32) -> io::Result<()> {
        match fs::remove_file(self.pack(pack)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => sync_folder(&self.folder.join(PACKS)),
        }
    }

    fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_small(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let draft = self.folder.join(format!("{name}.draft"));
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, self.folder.join(name))?;
        sync_folder(&self.folder)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.folder)
    }

    fn keep_room(&self, bytes: u64) -> io::Result<()> {
        let path = self.folder.join(ROOM);
        if fs::metadata(&path).is_ok_and(|file| file.len() == bytes) {
            return Ok(());
        }
        let file = File::create(&path)?;
        let kept = allocate(&file, bytes);
        if kept.is_err() {
            fs::remove_file(&path)?;
        }
        kept
    }

    fn give_room(&self) -> io::Result<bool> {
        match fs::remove_file(self.folder.join(ROOM)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug)]
struct HeldFile {
    _file: File,
}

impl Held for HeldFile {}

#[derive(Debug)]
struct OpenPack {
    file: File,
}

impl PackFile for OpenPack {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !bytes.is_empty() {
            let written = self.file.seek_write(bytes, offset)?;
            let Some((_, rest)) = bytes.split_at_checked(written).filter(|_| written > 0) else {
                return Err(io::Error::from(io::ErrorKind::WriteZero));
            };
            bytes = rest;
            offset = offset.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !buffer.is_empty() {
            let read = self.file.seek_read(buffer, offset)?;
            let Some((_, rest)) = buffer.split_at_mut_checked(read).filter(|_| read > 0) else {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            };
            buffer = rest;
            offset = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.sync_all()
    }
}

/// A new or removed name is durable only when its folder is synced.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Windows has no way to sync a folder and journals names itself.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Takes the room of a file without writing it.
#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}

/// A file that was not written takes no room here.
#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(folder)?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

/// Without a safe call for it, a full disk shows only when a write fails.
#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}
