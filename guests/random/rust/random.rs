//! Prints one line that differs from run to run: the order in which a hash map holds ten keys, and
//! 128 bits made from the same random seeds. Two fresh instances with equal lines share their
//! randomness, as they would if a snapshot were taken after a guest had asked for it.

use std::collections::hash_map::RandomState;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};

fn main() {
    let keys: HashSet<u8> = (0..10).collect();
    let order: String = keys.iter().map(|key| key.to_string()).collect();
    let bits = || RandomState::new().build_hasher().finish();
    println!("{order} {:016x}{:016x}", bits(), bits());
}
