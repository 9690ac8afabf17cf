//! A gzip body (RFC 1952) that is small on the wire and large when unpacked, for clients that must not unpack it.

const LARGEST: u64 = 1 << 30;

/// Zeros, about `bytes` of them: one literal, then copies of 258 bytes in a block with the fixed codes
/// (RFC 1951, section 3.2.6). The checksum is left zero: who gets that far has unpacked it all.
pub(super) fn zeros(bytes: u64) -> Vec<u8> {
    let mut bits = Bits { out: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], current: 0, used: 0 };
    let copies = bytes.min(LARGEST).saturating_sub(1) / 258;
    bits.code(1, 1); // the last block
    bits.code(0b10, 2); // fixed codes: 01, but numbers go least significant bit first
    bits.code(0b0011_0000, 8); // literal 0
    for _ in 0..copies {
        bits.code(0b1100_0101, 8); // length 258
        bits.code(0, 5); // distance 1
    }
    bits.code(0, 7); // end of block
    let mut out = bits.finish();
    out.extend_from_slice(&[0; 4]);
    let size = u32::try_from(copies.saturating_mul(258).saturating_add(1)).unwrap_or_default();
    out.extend_from_slice(&size.to_le_bytes());
    out
}

struct Bits {
    out: Vec<u8>,
    current: u8,
    used: u8,
}

impl Bits {
    /// A Huffman code: most significant bit first.
    fn code(&mut self, code: u16, length: u32) {
        for shift in (0..length).rev() {
            self.push(code >> shift & 1 == 1);
        }
    }

    fn push(&mut self, bit: bool) {
        self.current |= u8::from(bit) << self.used;
        self.used += 1;
        if self.used == 8 {
            self.out.push(self.current);
            (self.current, self.used) = (0, 0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.used > 0 {
            self.out.push(self.current);
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small_on_the_wire() {
        let body = zeros(10_000_000);
        assert!(body.len() < 70_000, "{}", body.len());
        assert!(zeros(0).len() < 32);
        assert!(zeros(u64::MAX).len() < 8_000_000);
    }
}
