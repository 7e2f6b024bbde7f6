#!/bin/sh
# Provides what functions in Rust are compiled with: build.sh RUSTC, in a folder with the files beside it.
# Makes `vendor`, the pinned crates, and `target`, what the compiler made of them.
set -eu
umask 022
PATH=$(dirname "$1"):$PATH
export PATH
unset RUSTFLAGS
mkdir -p actions/src
printf 'pub fn main(args: serde_json::Value) -> Result<serde_json::Value, serde_json::Error> { Ok(args) }\n' >actions/src/lib.rs
cp actions.toml actions/Cargo.toml
cargo vendor --quiet --locked vendor >/dev/null
# Wherever this folder goes, its sources have the same path for whoever has it open as descriptor 9: Cargo compiles
# anew what has another one.
exec 9<.
cat >vendored.toml <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/proc/self/fd/9/vendor"
END
sed -i 's/actions::ENTRY/actions::main/' launcher.rs
CARGO_HOME=$PWD/home cargo build --quiet --locked --offline --config vendored.toml --target-dir target
# What is left is what every function shares.
rm -rf actions home target/debug/exec* target/debug/*.d target/debug/examples
find target/debug -maxdepth 2 \( -name 'actions-*' -o -name 'libactions-*' -o -name 'exec-*' -o -name 'action_loop-*' \) -exec rm -rf {} +
