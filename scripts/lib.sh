# Shared by the scripts: saying what is done, and installing what is lacking.

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n==> %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root: as it is when we are root, through sudo otherwise.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need_command COMMAND PACKAGE: installs Debian's PACKAGE when COMMAND is not there.
missing_packages=()
need_command() {
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 || missing_packages+=("$2")
}

install_missing() {
    [ ${#missing_packages[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null 2>&1 ||
        fail "these are missing and apt-get is not here to install them: ${missing_packages[*]}"
    say "Installing ${missing_packages[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing_packages[@]}"
    missing_packages=()
}

# The toolchain that rustup put in place is not always on the PATH of a script.
if ! command -v cargo >/dev/null 2>&1 && [ -f "$HOME/.cargo/env" ]; then
    # shellcheck disable=SC1091
    . "$HOME/.cargo/env"
fi
command -v cargo >/dev/null 2>&1 || fail "cargo is not on the PATH: install the Rust toolchain (1.95 or newer) with rustup"

# venv FOLDER REQUIREMENTS: a Python virtual environment that holds what REQUIREMENTS lists; made anew when it changes.
venv() {
    local folder=$1 requirements=$2
    if ! cmp -s "$requirements" "$folder/requirements.txt"; then
        say "Installing $(basename "$(dirname "$requirements")")'s Python packages into $folder"
        rm -rf "$folder"
        "$SYSTEM_PYTHON" -m venv "$folder"
        "$folder/bin/pip" install -q --disable-pip-version-check -r "$requirements"
        cp "$requirements" "$folder/requirements.txt"
    fi
}

# node_packages SOURCE FOLDER: the npm packages that SOURCE's lockfile names, in FOLDER/node_modules; anew when it changes.
node_packages() {
    local source=$1 folder=$2
    ! cmp -s "$source/package-lock.json" "$folder/package-lock.json" || return 0
    say "Installing the npm packages of $source into $folder"
    rm -rf "$folder" && mkdir -p "$folder"
    cp "$source/package.json" "$source/package-lock.json" "$folder/"
    # The lockfile alone says that all is there: it is gone when the installation fails.
    npm ci --prefix "$folder" --no-audit --no-fund --silent || { rm -rf "$folder" && return 1; }
}

# java_functions FOLDER: the Java functions of the end-to-end tests, with their libraries from Maven's repository; built
# anew when they change.
java_functions() {
    local folder=$1 stamp
    stamp=$(find e2e/java/pom.xml e2e/java/src -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "Building the Java functions of the end-to-end tests"
        rm -rf "$folder"
        mvn -q -B -f e2e/java/pom.xml package -Dmaven.test.skip -Dmaven.repo.local="$(dirname "$folder")/maven" -Dout="$folder"
        printf '%s\n' "$stamp" >"$folder/stamp"
    fi
}

# extension_programs FOLDER: AWS's own extension programs of the end-to-end tests, in FOLDER/bin.
extension_programs() {
    local folder=$1
    say "Building AWS's own extensions for the end-to-end tests"
    cargo build -q --locked --release --manifest-path e2e/extension/Cargo.toml --target-dir "$folder"
    mkdir -p "$folder/bin"
    cp "$folder/release/telemetry-extension" "$folder/bin/"
    cargo install -q --locked lambda_web_adapter --version =1.0.0-rc1 --root "$folder" --target-dir "$folder"
}

# wasm_functions FOLDER: the WebAssembly functions of the end-to-end tests, from Rust, JavaScript and the text format;
# built anew when they change.
wasm_functions() {
    local folder=$1 stamp jco interfaces file name
    local template=crates/ephyra/src/template/app.rs
    stamp=$(find e2e/wasm "$template" -type f -not -path '*/target/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || return 0
    say "Building the WebAssembly functions of the end-to-end tests"
    rm -rf "$folder" && mkdir -p "$folder/build/wit/deps"
    # What cannot be installed shows when it is missing.
    ! command -v rustup >/dev/null 2>&1 || rustup -q target add wasm32-wasip1 wasm32-wasip2
    local build=(cargo build -q --locked --release --manifest-path e2e/wasm/Cargo.toml --target-dir "$folder/build")
    "${build[@]}" --target wasm32-wasip2
    "${build[@]}" --target wasm32-wasip1 --bin command
    cp "$folder/build/wasm32-wasip2/release/http.wasm" "$folder/rust-http.wasm"
    cp "$folder/build/wasm32-wasip2/release/command.wasm" "$folder/rust-component.wasm"
    cp "$folder/build/wasm32-wasip1/release/command.wasm" "$folder/rust-module.wasm"
    rustc --edition 2024 --target wasm32-wasip2 -O "$template" -o "$folder/template.wasm"
    cp e2e/wasm/js/package.json e2e/wasm/js/package-lock.json "$folder/build/"
    npm ci --prefix "$folder/build" --no-audit --no-fund --silent
    jco=$folder/build/node_modules/.bin/jco
    # The texts of WASI's interfaces come with the Rust functions' library, of a version later than the one that jco
    # knows; what is not in both is not used.
    interfaces=$(cargo metadata --format-version 1 --locked --manifest-path e2e/wasm/Cargo.toml |
        /usr/bin/python3 -c 'import json, pathlib, sys
packages = json.load(sys.stdin)["packages"]
print(next(pathlib.Path(p["manifest_path"]).parent / "wit/deps" for p in packages if p["name"] == "wasip2"))')
    for file in "$interfaces"/*.wit; do
        sed -e 's/0\.2\.[0-9]*/0.2.3/g' -e '/@unstable(feature = clocks-timezone)/{N;/import/d}' "$file" \
            >"$folder/build/wit/deps/$(basename "$file")"
    done
    cp e2e/wasm/js/world.wit "$folder/build/wit/"
    "$jco" componentize e2e/wasm/js/component.js --wit "$folder/build/wit" --world-name functions \
        -o "$folder/js-http.wasm" >/dev/null
    for file in e2e/wasm/wat/*.wat; do
        name=$(basename "$file" .wat)
        "$jco" parse "$file" -o "$folder/$name.wasm" >/dev/null
    done
    rm -rf "$folder/build"
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# go_program FOLDER NAME PACKAGE@VERSION: a program written in Go, in FOLDER; says where. Nothing where Go is not there.
go_program() {
    local folder=$1 name=$2 package=$3
    if [ ! -x "$folder/$name" ]; then
        command -v go >/dev/null 2>&1 || return 0
        GOBIN=$folder go install "$package" >&2
    fi
    printf '%s\n' "$folder/$name"
}

# Debian's own Python where it is there: what people have, and readable by all.
SYSTEM_PYTHON=/usr/bin/python3

# The program of the sandbox's tests, which has to run as root; built before.
sandbox_tests() {
    cargo test --locked -p ephyra-sandbox --test real --no-run --message-format=json 2>/dev/null |
        /usr/bin/python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "real":
        print(message["executable"])'
}
