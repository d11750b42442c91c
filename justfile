# Short names for the scripts of this repository; 'just' lists them. Nothing needs just: each recipe is one line.

[private]
default:
    @just --list --unsorted

# All tests, as CI runs them; other arguments go to pytest
all *args:
    tests/run {{ args }}

# What one runs while working: no fuzzing, no cross-compiling, no slow tests
quick *args:
    tests/run quick {{ args }}

# All tests, with the long form of those that sweep
long *args:
    FRUITCTL_TEST_LONG=1 tests/run {{ args }}

# Formatting and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Formats all Rust
fmt:
    cargo fmt --all

# Unit tests
unit:
    cargo test --workspace

# Writes what docs/reference and docs/schema list, from the code
reference:
    FRUITCTL_REFERENCE=write cargo test -p fruitctl --lib reference

# Writes what commands print, as tests/test_screens.py compares it; look at the difference
screens:
    FRUITCTL_SCREENS=write target/venv/bin/python -m pytest -q -p no:cacheprovider tests/test_screens.py

# Licences, sources and advisories of dependencies (needs cargo-deny)
deny:
    cargo deny check

# Writes src/prices.toml from clones of two public repositories; release/prices says which
prices ec2shop karpenter:
    release/prices {{ ec2shop }} {{ karpenter }} > target/prices.toml
    mv target/prices.toml src/prices.toml

# Fuzzes each target for so many seconds
fuzz seconds="60" *targets:
    fuzz/run {{ seconds }} {{ targets }}

# Nights on which things go wrong (needs built executables)
chaos nights="20":
    tests/chaos --nights {{ nights }}

# An AWS on this machine, until Ctrl-C
emulate *args:
    tests/emulate {{ args }}

# The job beside its peers (needs FRUITCTL_TEST_DATA)
bench *args:
    bench/run {{ args }}

# Portable fruitjobs for clusters' nodes, to where a development build finds them
jobs dir="target/release":
    release/jobs {{ dir }}

# Archives of a release for Linux, in dist/
release:
    release/build
