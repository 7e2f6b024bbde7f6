//! Every seed of every target, replayed without a fuzzer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use chasen_fuzz::TARGETS;

#[test]
fn seeds_find_nothing() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
        let mut seeds: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in seeds {
            println!("{}", seed.display());
            (target.run)(&std::fs::read(&seed).unwrap());
        }
    }
}
