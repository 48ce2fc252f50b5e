//! The compact protocol of Apache Thrift, as far as Parquet's metadata needs it.
//! Always true: a length is checked against the bytes that are left before anything is made of it, and nothing recurses
//! deeper than `NESTING_MAX`.

/// Parquet's own structures nest eight deep.
const NESTING_MAX: u32 = 24;

/// Bytes that are no Thrift, or end before it does.
#[derive(Debug)]
pub(in crate::sample) struct Malformed;

/// What a reader yields.
pub(in crate::sample) type Parsed<T> = Result<T, Malformed>;

/// The type of a field or of a list's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sample) struct Type(u8);

impl Type {
    /// A truth value is held in its field's type.
    pub(in crate::sample) fn is_true(self) -> bool {
        self.0 == 1
    }
}

/// A reader of bytes.
pub(in crate::sample) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::sample) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read.
    pub(in crate::sample) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn byte(&mut self) -> Parsed<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(byte)
    }

    fn varint(&mut self) -> Parsed<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// An integer of any width.
    pub(in crate::sample) fn integer(&mut self) -> Parsed<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// An integer that counts something.
    pub(in crate::sample) fn count(&mut self) -> Parsed<usize> {
        usize::try_from(self.integer()?).map_err(|_| Malformed)
    }

    /// A string, or bytes.
    pub(in crate::sample) fn binary(&mut self) -> Parsed<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        let (binary, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(binary)
    }

    /// Hands each field of a structure to `each`, which reads or skips it.
    pub(in crate::sample) fn structure(
        &mut self,
        mut each: impl FnMut(&mut Self, i64, Type) -> Parsed<()>,
    ) -> Parsed<()> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head & 0x0f == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.integer()?,
                step => id.saturating_add(i64::from(step)),
            };
            each(self, id, Type(head & 0x0f))?;
        }
    }

    /// Hands each item of a list to `each`, which reads it.
    pub(in crate::sample) fn list(&mut self, mut each: impl FnMut(&mut Self, Type) -> Parsed<()>) -> Parsed<()> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            length => u64::from(length),
        };
        // Each item takes a byte or more.
        if length > self.rest.len() as u64 {
            return Err(Malformed);
        }
        for _ in 0..length {
            each(self, Type(head & 0x0f))?;
        }
        Ok(())
    }

    /// Passes a field over.
    pub(in crate::sample) fn skip(&mut self, of: Type) -> Parsed<()> {
        self.skip_to(of, false, NESTING_MAX)
    }

    fn skip_to(&mut self, of: Type, is_item: bool, depth: u32) -> Parsed<()> {
        let deeper = depth.checked_sub(1).ok_or(Malformed)?;
        match of.0 {
            1 | 2 if is_item => self.byte().map(|_| ()),
            1 | 2 => Ok(()),
            3 => self.byte().map(|_| ()),
            4..=6 => self.varint().map(|_| ()),
            7 => (0..8).try_for_each(|_| self.byte().map(|_| ())),
            8 => self.binary().map(|_| ()),
            9 | 10 => self.list(|reader, of| reader.skip_to(of, true, deeper)),
            12 => self.structure(|reader, _, of| reader.skip_to(of, false, deeper)),
            // Maps and the rest are in no structure of Parquet.
            _ => Err(Malformed),
        }
    }
}
