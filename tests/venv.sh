# Sourced by tests/run and tests/emulate: the Python packages of the tests, in target/venv.
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=$target/venv

# Installs packages where we may: as root, or by sudo without a password.
apt() {
  local sudo=()
  if [ "$(id -u)" != 0 ]; then sudo -n true 2>/dev/null || return 1; sudo=(sudo -n); fi
  command -v apt-get >/dev/null || return 1
  export DEBIAN_FRONTEND=noninteractive
  "${sudo[@]}" apt-get install -y -q "$@" >/dev/null 2>&1 ||
    { "${sudo[@]}" apt-get update -q >/dev/null && "${sudo[@]}" apt-get install -y -q "$@" >/dev/null; }
}

# Debian has pip's part of it in a package of its own.
need_python_venv() {
  python3 -c "import ensurepip, venv" 2>/dev/null || apt python3-venv ||
    { echo "error: python3 cannot make a venv; type: sudo apt-get install python3-venv" >&2; exit 1; }
}

make_venv() {
  local stamp
  need_python_venv
  stamp=$venv/$(sha256sum tests/requirements.txt | cut -c1-16)
  [ ! -e "$stamp" ] || return 0
  rm -rf "$venv"
  mkdir -p "$target"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
  touch "$stamp"
}

# ssh2 links the system's OpenSSL.
need_openssl() {
  pkg-config --exists openssl 2>/dev/null || apt pkg-config libssl-dev ||
    { echo "error: no OpenSSL to link; type: sudo apt-get install pkg-config libssl-dev" >&2; exit 1; }
}

# The linter of GitHub workflows and Azure's emulator are npm packages.
need_npm() {
  local without="workflows are not linted, and Azure's storage is not tested"
  command -v npm >/dev/null || apt npm || { echo "no npm: $without" >&2; return 0; }
  cmp -s tests/npm/package-lock.json "$target/npm/package-lock.json" && [ -d "$target/npm/node_modules" ] && return 0
  rm -rf "$target/npm"
  cp -r tests/npm "$target/npm"
  npm ci --prefix "$target/npm" --silent --no-audit --no-fund --ignore-scripts || echo "npm ci failed: $without" >&2
}

# Clocks that are off are made by it.
need_faketime() {
  command -v faketime >/dev/null || apt faketime || echo "no faketime: no clock is off in the chaos tests" >&2
}

# It makes the JPEGs that Pillow cannot.
need_cjpeg() {
  command -v cjpeg >/dev/null || apt libjpeg-turbo-progs || echo "no cjpeg: the kinds of JPEG are not tested" >&2
}

# Nodes of the emulated clusters need it.
need_sshd() {
  { command -v sshd || [ -x /usr/sbin/sshd ]; } >/dev/null || apt openssh-server ||
    echo "no sshd (apt-get install openssh-server): emulated clusters have no nodes, and tests that need them are skipped" >&2
}

# Executables for aarch64 run on it.
need_qemu() {
  { command -v qemu-aarch64 && [ -d /usr/aarch64-linux-gnu/lib ]; } >/dev/null || apt qemu-user libc6-arm64-cross libgcc-s1-arm64-cross ||
    echo "no qemu-aarch64: the executable for Graviton is not run" >&2
}
