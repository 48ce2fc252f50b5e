//! The container of an archive: the part of tar (POSIX ustar) that it needs, written and read as a stream.
//! Invariant: reading holds no more than one member, of a size that the caller bounds; what is no whole member is an
//! error.

use std::io::{self, Read, Write};

/// Bytes of a tar block.
const BLOCK: usize = 512;

/// Why no member could be read.
#[derive(Debug)]
pub(super) enum TarError {
    /// The archive ends here.
    Cut,
    /// These bytes are no member.
    Damaged(String),
    /// The system could not read.
    Io(io::Error),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            _ => Self::Io(error),
        }
    }
}

/// A file in the archive.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Writes members one after the other.
pub(super) struct Writer<W>(W);

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self(out)
    }

    /// Writes a member. `time_s` is shown as its time: seconds since 1970.
    pub(super) fn member(&mut self, name: &str, bytes: &[u8], time_s: i64) -> io::Result<()> {
        let mut head = [0u8; BLOCK];
        let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        // Eleven octal digits; a time that does not fit is shown as the nearest that does.
        put(136, &format!("{:011o}\0", time_s.clamp(0, (1 << 33) - 1)));
        put(156, "0");
        put(257, "ustar\x0000");
        let sum = format!("{:06o}\0 ", checksum(&head));
        head[148..156].copy_from_slice(sum.as_bytes());
        self.0.write_all(&head)?;
        self.0.write_all(bytes)?;
        self.0.write_all(&[0; BLOCK][..padding(bytes.len())])
    }

    /// Writes the end, and gives back what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.flush()?;
        Ok(self.0)
    }
}

/// Reads members one after the other.
pub(super) struct Reader<R>(R);

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self(input)
    }

    /// The next member, or none at the archive's end. More than `bytes_max` bytes: an error, before they are read.
    pub(super) fn next(&mut self, bytes_max: u64) -> Result<Option<Member>, TarError> {
        let mut head = [0u8; BLOCK];
        self.0.read_exact(&mut head)?;
        if head == [0; BLOCK] {
            return Ok(None);
        }
        let damaged = |what: &str| TarError::Damaged(what.to_owned());
        if number(&head[148..156]) != Some(checksum(&head)) {
            return Err(damaged("what follows is no head of a tar member"));
        }
        let name = &head[..100];
        let name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())];
        let name = str::from_utf8(name).map_err(|_| damaged("a member's name is no text"))?;
        if !matches!(head[156], b'0' | 0) {
            return Err(TarError::Damaged(format!("`{name}` is no regular file")));
        }
        let size = number(&head[124..136]).ok_or_else(|| damaged("a member's size is no number"))?;
        if size > bytes_max {
            let what = format!("`{name}` has {size} bytes, {bytes_max} are allowed");
            return Err(TarError::Damaged(what));
        }
        let mut bytes = vec![0; size as usize];
        self.0.read_exact(&mut bytes)?;
        self.0.read_exact(&mut [0; BLOCK][..padding(bytes.len())])?;
        Ok(Some(Member {
            name: name.to_owned(),
            bytes,
        }))
    }
}

/// Bytes that fill up the last block.
fn padding(len: usize) -> usize {
    len.next_multiple_of(BLOCK) - len
}

/// The sum of a head's bytes, its checksum's own taken for spaces.
fn checksum(head: &[u8; BLOCK]) -> u64 {
    let others = head[..148].iter().chain(&head[156..]);
    others.map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ')
}

/// An octal number that spaces or zeros end.
fn number(field: &[u8]) -> Option<u64> {
    let text = str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}
