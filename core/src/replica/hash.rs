//! A small 64-bit hash with a fixed definition: replicas compare it, snapshots keep it, so it must
//! never change with a compiler, a crate or a platform. It finds accidents, not attackers.

/// Odd constant of the multiplication (the 64-bit golden ratio, Knuth TAOCP 6.4).
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// `hash` with one more word.
pub(super) const fn fold(hash: u64, word: u64) -> u64 {
    mix((hash ^ word).wrapping_mul(ODD))
}

/// Finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `hash` with these bytes and their number.
pub(super) fn fold_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = hash ^ (bytes.len() as u64).wrapping_mul(ODD);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of exactly 8 bytes"));
        hash = (hash ^ word).wrapping_mul(ODD).rotate_left(29);
    }
    let mut last = [0; 8];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    fold(hash, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_never_changes() {
        assert_eq!(fold(0, 0), 0);
        assert_eq!(fold_bytes(0, b""), 0);
        assert_eq!(fold(1, 2), GOLDEN[0]);
        assert_eq!(fold_bytes(7, b"quorate"), GOLDEN[1]);
        assert_eq!(
            fold_bytes(7, b"a longer text of more than eight bytes"),
            GOLDEN[2]
        );
    }

    const GOLDEN: [u64; 3] = [
        0x06c4_5d18_8009_454f,
        0x82c1_82fa_fb92_0a65,
        0x62a1_cac0_ea1f_0550,
    ];

    #[test]
    fn length_order_and_content_matter() {
        assert_ne!(fold_bytes(1, b"a"), fold_bytes(1, b"a\0"));
        assert_ne!(
            fold_bytes(1, b"12345678abcdefgh"),
            fold_bytes(1, b"abcdefgh12345678")
        );
        assert_ne!(fold_bytes(1, b"12345678"), fold_bytes(2, b"12345678"));
    }
}
