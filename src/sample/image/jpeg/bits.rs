//! The entropy-coded bits of a JPEG scan: Huffman codes and the numbers between them (ITU T.81, annexes C and F).
//! Always true: nothing is read beyond the scan; a scan that ends too early is an [`Irregular`] one.

/// The scan is not what the plain reading of the standard expects. Says nothing about why: the full decoder does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Irregular;

/// Bits of a code that are looked up at once; longer codes are rare.
const LOOKUP_BITS: u32 = 10;

/// A Huffman table.
#[derive(Clone, Debug)]
pub(super) struct Huffman {
    /// By the next [`LOOKUP_BITS`] bits: the code's length in the high byte, its symbol in the low one; 0: longer.
    lookup: Vec<u16>,
    /// By length: the first code that is too large, left-aligned to 16 bits, and what to add to a code for its index.
    limits: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// The table with `counts[n]` codes of `n + 1` bits for the symbols, in order (T.81, annex C).
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Irregular> {
        let mut lookup = vec![0; 1 << LOOKUP_BITS];
        let mut limits = [(0, 0); 17];
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            // The index of a code is its distance from the first of its length, after all shorter ones.
            limits[length as usize].1 = index as i32 - code as i32;
            for _ in 0..count {
                let symbol = *symbols.get(index).ok_or(Irregular)?;
                if code >> length != 0 {
                    return Err(Irregular);
                }
                if length <= LOOKUP_BITS {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    let entry = (length as u16) << 8 | u16::from(symbol);
                    lookup[first..first + (1 << (LOOKUP_BITS - length))].fill(entry);
                }
                code += 1;
                index += 1;
            }
            limits[length as usize].0 = code << (16 - length);
            code <<= 1;
        }
        Ok(Self {
            lookup,
            limits,
            symbols: symbols.to_vec(),
        })
    }
}

/// Reads a scan bit by bit.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the top.
    ahead: u64,
    count: u32,
    /// Zero bits that were put behind the end of the scan.
    padding: u32,
}

impl<'a> Bits<'a> {
    /// The scan that begins at `at`.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            ahead: 0,
            count: 0,
            padding: 0,
        }
    }

    /// Makes at least 32 bits available: enough for one code and its number.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(next) = self.bytes.get(self.at..self.at + 4) {
            let word = u32::from_be_bytes([next[0], next[1], next[2], next[3]]);
            // No byte is 0xff: none of the complements is zero.
            let inverse = !word;
            if inverse.wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.ahead |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.refill_bytewise();
    }

    #[cold]
    fn refill_bytewise(&mut self) {
        while self.count <= 56 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                // A stuffed zero follows a 0xff that is data.
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                // A marker or the end of the file: the scan is over.
                (Some(0xff), _) | (None, _) => {
                    self.padding += 8;
                    0
                }
                (Some(byte), _) => {
                    self.at += 1;
                    *byte
                }
            };
            self.ahead |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next `n` bits, 0 to 16, of those available.
    #[inline]
    pub(super) fn take(&mut self, n: u32) -> u32 {
        // Two shifts, for one by 64 is not defined.
        let value = (self.ahead >> 1 >> (63 - n)) as u32;
        self.skip(n);
        value
    }

    #[inline]
    pub(super) fn skip(&mut self, n: u32) {
        self.ahead <<= n;
        self.count -= n;
    }

    /// The next symbol of those available.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<u8, Irregular> {
        let entry = table.lookup[(self.ahead >> (64 - LOOKUP_BITS)) as usize];
        if entry != 0 {
            self.skip(u32::from(entry >> 8));
            return Ok(entry as u8);
        }
        let next = (self.ahead >> 48) as u32;
        for length in LOOKUP_BITS + 1..=16 {
            let (limit, offset) = table.limits[length as usize];
            if next < limit {
                let index = (next >> (16 - length)) as i32 + offset;
                self.skip(length);
                return table.symbols.get(index as usize).copied().ok_or(Irregular);
            }
        }
        Err(Irregular)
    }

    /// A number of `size` bits, 0 to 15, of those available (T.81, table F.1).
    #[inline]
    pub(super) fn number(&mut self, size: u32) -> i32 {
        let value = self.take(size) as i32;
        let is_negative = value < (1 << size >> 1);
        value - if is_negative { (1 << size) - 1 } else { 0 }
    }

    /// Whether bits were used that the scan does not have.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.padding > self.count
    }

    /// Passes the restart marker of this number and begins anew behind it.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), Irregular> {
        let marker = self.bytes.get(self.at..self.at + 2);
        if self.is_overdrawn() || marker != Some(&[0xff, 0xd0 + number]) {
            return Err(Irregular);
        }
        *self = Self::new(self.bytes, self.at + 2);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_standards_table_has_them() {
        let number = |size: u32, bits: u8| {
            Bits {
                bytes: &[],
                at: 0,
                ahead: u64::from(bits) << 56,
                count: 64,
                padding: 0,
            }
            .number(size)
        };
        assert_eq!(number(0, 0xff), 0);
        assert_eq!((number(1, 0x00), number(1, 0x80)), (-1, 1));
        assert_eq!(
            (
                number(3, 0x00),
                number(3, 0b0110_0000),
                number(3, 0x80),
                number(3, 0xe0)
            ),
            (-7, -4, 4, 7)
        );
    }

    #[test]
    fn short_and_long_codes_give_their_symbols() {
        // One code of each length from 1 to 16: 0, 10, 110, ...
        let symbols: Vec<u8> = (1..=16).collect();
        let table = Huffman::new(&[1; 16], &symbols).unwrap();
        for length in 1..=16u32 {
            let code = (u64::MAX << (64 - (length - 1)).min(63)) & if length == 1 { 0 } else { u64::MAX };
            let mut bits = Bits {
                bytes: &[],
                at: 0,
                ahead: code,
                count: 64,
                padding: 0,
            };
            assert_eq!(bits.symbol(&table), Ok(length as u8));
            assert_eq!(bits.count, 64 - length);
        }
    }

    #[test]
    fn a_scan_that_ends_too_early_is_noticed() {
        let mut bits = Bits::new(&[0xab, 0xff, 0xd9], 0);
        bits.refill();
        assert_eq!(bits.take(8), 0xab);
        assert!(!bits.is_overdrawn());
        bits.take(1);
        assert!(bits.is_overdrawn());
    }
}
