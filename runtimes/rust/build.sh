#!/bin/sh
# Provides what functions in Rust are compiled with: build.sh RUSTC, in a folder with the files beside it.
# Makes `vendor`, the pinned crates, and `target`, what the compiler made of them.
set -eu
umask 022
PATH=$(dirname "$1"):$PATH
export PATH
mkdir -p actions/src .cargo
printf 'pub fn main(args: serde_json::Value) -> Result<serde_json::Value, serde_json::Error> { Ok(args) }\n' >actions/src/lib.rs
cp actions.toml actions/Cargo.toml
cargo vendor --quiet --locked vendor >/dev/null
cat >.cargo/config.toml <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "vendor"
END
sed -i 's/actions::ENTRY/actions::main/' launcher.rs
cargo build --quiet --locked --offline --target-dir target
# What is left is what every function shares.
rm -rf actions .cargo target/debug/exec* target/debug/*.d target/debug/examples
find target/debug -maxdepth 2 \( -name 'actions-*' -o -name 'libactions-*' -o -name 'exec-*' -o -name 'action_loop-*' \) -exec rm -rf {} +
