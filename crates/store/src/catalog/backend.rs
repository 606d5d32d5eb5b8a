//! redb's storage on the disk seam, so that crash tests reach the catalog too.

use std::io;

use redb::StorageBackend;

use crate::disk::DiskFile;

/// One file as redb wants it.
#[derive(Debug)]
pub struct Backend {
    file: Box<dyn DiskFile>,
}

impl Backend {
    /// Wraps an open file.
    pub fn new(file: Box<dyn DiskFile>) -> Self {
        Backend { file }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
}
