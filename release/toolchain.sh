# Sourced by release/jobs and release/build: builds that run on old systems, and hold nothing of the machine that made them.
target=${CARGO_TARGET_DIR:-$PWD/target}

# zig and cargo-zigbuild, in target/zig: a C compiler and linker for any processor and any glibc.
need_zig() {
  local stamp
  stamp=$target/zig/$(sha256sum release/requirements.txt | cut -c1-16)
  if [ ! -e "$stamp" ]; then
    rm -rf "$target/zig"
    python3 -m venv "$target/zig"
    "$target/zig/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r release/requirements.txt
    touch "$stamp"
  fi
  PATH=$target/zig/bin:$PATH
}

# pack_job LEVEL FILE: to FILE.zst, for an executable that carries it. The models are in that one anyway, and so are the
# dictionary: they are as good as random, and nothing else makes them small. src/bundle.rs unpacks it.
pack_job() {
  local models=jobs/fruitjob/models
  cat $models/builtin.onnx $models/builtin-1.onnx >"$2.dictionary"
  zstd --quiet --force --check "$1" --ultra -D "$2.dictionary" "$2" -o "$2.zst"
  rm "$2.dictionary"
}

# build_portable PROFILE PROGRAM ARCH [OPTION...]: to $target/ARCH-unknown-linux-gnu/PROFILE. Amazon Linux 2 has glibc 2.26.
build_portable() {
  local profile=$1 program=$2 arch=$3 cargo_home=${CARGO_HOME:-$HOME/.cargo}
  shift 3
  if command -v rustup >/dev/null; then rustup --quiet target add "$arch-unknown-linux-gnu"; fi
  # C reads what came over the network: its overflows are to end the process. Rust's own code has no need of it, and its
  # defaults make the rest of what is executable immovable (full RELRO, PIE).
  local hardened="-fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2"
  # No path of this machine, and no time, in what is made. OpenSSL would look for modules where it was built.
  RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$PWD=/fruitctl" \
  CFLAGS="$hardened -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$PWD=/fruitctl" \
  GNUMAKEFLAGS="ENGINESDIR=/usr/local/ssl/engines MODULESDIR=/usr/local/ssl/modules" \
  SOURCE_DATE_EPOCH=0 \
    cargo zigbuild --quiet --locked --profile "$profile" --workspace --bin "$program" --target "$arch-unknown-linux-gnu.2.26" "$@"
}
