//! A byte buffer for text that holds keys.

use std::io;

use zeroize::Zeroizing;

/// A growing buffer that leaves no copy behind: growth moves the bytes by hand and wipes the old place, and the rest is
/// wiped when dropped. `String` and `Vec` leave their old contents in freed memory when they grow.
#[derive(Default)]
pub struct WipingBuf(Zeroizing<Vec<u8>>);

impl WipingBuf {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(self.0.capacity() * 2)));
            larger.extend_from_slice(&self.0);
            self.0 = larger; // drops, and so wipes, the old place
        }
        self.0.extend_from_slice(bytes);
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a body for hyper, which wipes the bytes when the last handle on them is dropped.
    pub fn into_bytes(self) -> bytes::Bytes {
        bytes::Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for WipingBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl io::Write for WipingBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_keeps_every_byte() {
        let mut buffer = WipingBuf::with_capacity(1);
        for byte in 0..200 {
            buffer.extend(&[byte]);
        }
        assert_eq!(buffer.as_ref(), (0..200).collect::<Vec<u8>>());
        assert_eq!(buffer.into_bytes().len(), 200);
    }
}
