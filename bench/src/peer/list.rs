//! How each of the other platforms is started on an address, and which path of it answers `null` to a POST.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::server::free_address;

/// One of them.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// What has to be there: relative to the folder, or a program on the `PATH` when it has no slash.
    pub(super) needs: &'static str,
    pub(super) path: &'static str,
    /// How it is started, from the folder.
    pub(super) command: fn(&Path, SocketAddr) -> Result<Command>,
}

impl Peer {
    /// Whether it is there.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        if self.needs.contains('/') {
            folder.join(self.needs).exists()
        } else {
            find(self.needs).is_some()
        }
    }
}

/// What they serve, by its place in the folder.
const FILES: [(&str, &str); 14] = [
    ("files/http.js", include_str!("../../peers/http.js")),
    ("files/bare_asgi.py", include_str!("../../peers/bare_asgi.py")),
    ("files/bare_wsgi.py", include_str!("../../peers/bare_wsgi.py")),
    ("files/framework.py", include_str!("../../peers/framework.py")),
    ("files/framework/index.js", include_str!("../../peers/framework.js")),
    ("npm/serverless.yml", include_str!("../../peers/serverless.yml")),
    ("npm/lambda.js", include_str!("../../peers/lambda.js")),
    ("files/workerd.capnp", include_str!("../../peers/workerd.capnp")),
    ("files/workerd.js", include_str!("../../peers/workerd.js")),
    ("files/deno.js", include_str!("../../peers/deno.js")),
    ("files/bun.js", include_str!("../../peers/bun.js")),
    ("files/component.js", include_str!("../../peers/component.js")),
    ("files/nuclio.py", include_str!("../../peers/nuclio.py")),
    ("bundle/config.json", include_str!("../../peers/crun.json")),
];

/// Puts what they serve into the folder.
pub(super) fn put_files(folder: &Path) -> Result<()> {
    for (name, text) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}

pub(super) const ALL: [Peer; 12] = [
    Peer {
        name: "node:http",
        needs: "node",
        path: "/",
        command: |_, address| Ok(command("node", &["files/http.js", &port(address)])),
    },
    Peer {
        name: "uvicorn",
        needs: "venv/bin/uvicorn",
        path: "/",
        command: |_, address| {
            let quiet = [
                "--no-access-log",
                "--log-level",
                "error",
                "--app-dir",
                "files",
                "--port",
            ];
            Ok(command(
                "venv/bin/uvicorn",
                &[&["bare_asgi:app"], &quiet[..], &[&port(address)]].concat(),
            ))
        },
    },
    Peer {
        name: "gunicorn",
        needs: "venv/bin/gunicorn",
        path: "/",
        command: |_, address| {
            // Threads, because its plain workers close every connection.
            let workers = ["--workers", "2", "--threads", "32", "--keep-alive", "75"];
            let rest = ["--log-level", "error", "--chdir", "files", "bare_wsgi:app", "--bind"];
            Ok(command(
                "venv/bin/gunicorn",
                &[&workers[..], &rest, &[&address.to_string()]].concat(),
            ))
        },
    },
    Peer {
        name: "functions-framework, Python",
        needs: "venv/bin/functions-framework",
        path: "/",
        command: |_, address| {
            let what = [
                "--target",
                "handler",
                "--source",
                "files/framework.py",
                "--host",
                "127.0.0.1",
                "--port",
            ];
            Ok(command(
                "venv/bin/functions-framework",
                &[&what[..], &[&port(address)]].concat(),
            ))
        },
    },
    Peer {
        name: "functions-framework, Node",
        needs: "npm/node_modules/.bin/functions-framework",
        path: "/",
        command: |_, address| {
            let port = format!("--port={}", port(address));
            let what = ["--target=handler", "--source=files/framework", &port];
            Ok(command("npm/node_modules/.bin/functions-framework", &what))
        },
    },
    Peer {
        name: "serverless-offline",
        needs: "npm/node_modules/.bin/serverless",
        path: "/hello",
        command: |folder, address| {
            let lambda = port(free_address()?);
            let what = [
                "offline",
                "--host",
                "127.0.0.1",
                "--lambdaPort",
                &lambda,
                "--httpPort",
                &port(address),
            ];
            let mut command = command("node_modules/.bin/serverless", &what);
            command
                .env("SLS_TELEMETRY_DISABLED", "1")
                .env("SLS_NOTIFICATIONS_MODE", "off")
                .env("CI", "1")
                .current_dir(folder.join("npm"));
            Ok(command)
        },
    },
    Peer {
        name: "workerd",
        needs: "npm/node_modules/.bin/workerd",
        path: "/",
        command: |_, address| {
            let address = format!("--socket-addr=http={address}");
            Ok(command(
                "npm/node_modules/.bin/workerd",
                &["serve", "files/workerd.capnp", &address],
            ))
        },
    },
    Peer {
        name: "deno",
        needs: "npm/node_modules/.bin/deno",
        path: "/",
        command: |folder, address| {
            let what = ["run", "--no-config", "--allow-net", "files/deno.js", &port(address)];
            let mut command = command("npm/node_modules/.bin/deno", &what);
            command
                .env("DENO_DIR", folder.join("deno"))
                .env("DENO_NO_UPDATE_CHECK", "1");
            Ok(command)
        },
    },
    Peer {
        name: "bun",
        needs: "npm/node_modules/.bin/bun",
        path: "/",
        command: |_, address| {
            let what = ["run", "files/bun.js", &port(address)];
            Ok(command("npm/node_modules/.bin/bun", &what))
        },
    },
    Peer {
        name: "wasmtime serve",
        needs: "component.wasm",
        path: "/",
        command: |folder, address| {
            let own = folder.join("cargo/bin/wasmtime");
            let program = if own.exists() { own } else { "wasmtime".into() };
            let mut command = Command::new(program);
            command.args(["serve", "-Scli", "--addr", &address.to_string(), "component.wasm"]);
            Ok(command)
        },
    },
    Peer {
        name: "nuclio processor",
        needs: "go/bin/processor",
        path: "/",
        command: |folder, address| {
            let port = port(address);
            let configuration = format!(
                "apiVersion: nuclio.io/v1beta1\nkind: NuclioFunction\nspec:\n  runtime: python\n  handler: \
                 nuclio:handler\n  triggers:\n    http:\n      kind: http\n      maxWorkers: 2\n      attributes: {{ \
                 port: {port} }}\n"
            );
            fs::write(folder.join("files/processor.yaml"), configuration)?;
            let mut command = command("../go/bin/processor", &["--config", "processor.yaml"]);
            command.current_dir(folder.join("files"));
            Ok(command)
        },
    },
    Peer {
        name: "of-watchdog",
        needs: "go/bin/of-watchdog",
        path: "/",
        command: |_, address| {
            let behind = free_address()?;
            let mut command = command("go/bin/of-watchdog", &[]);
            command
                .env("mode", "http")
                .env("port", port(address))
                .env("upstream_url", format!("http://{behind}"))
                .env("fprocess", format!("node files/http.js {}", behind.port()));
            Ok(command)
        },
    },
];

/// How a container is run from the folder, by its number.
type Container = fn(&Path, usize) -> Command;

/// A container that runs `python3` on a root folder, says `null` and ends, by each of the programs that can; without
/// control groups, and with limits that every root may set.
pub(super) const CONTAINERS: [(&str, Container); 2] = [
    ("crun", |folder, number| {
        let mut command = beside_version_2("crun");
        let name = format!("ephyra-bench-{}-{number}", std::process::id());
        command.args(["--cgroup-manager=disabled", "run", "--bundle"]);
        command.arg(folder.join("bundle")).arg(name);
        command
    }),
    ("podman", |folder, _| {
        let mut command = beside_version_2("podman");
        command.args(["run", "--rm", "--runtime", "crun", "--network", "none", "--read-only"]);
        command.args(["--cgroups=disabled", "--ulimit", "nofile=1024:1024"]);
        command.args(["--ulimit", "nproc=1024:1024", "--rootfs"]);
        command.arg(folder.join("root"));
        command.args(["/usr/bin/python3", "-c", "print('null')"]);
        command
    }),
];

/// crun refuses to run where control groups of both versions are in use. There it gets a mount namespace in which it
/// sees version 2 alone, which takes some two milliseconds.
fn beside_version_2(program: &str) -> Command {
    if !Path::new("/sys/fs/cgroup/unified").exists() {
        return Command::new(program);
    }
    let script = "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let what = ["--mount", "--propagation", "private", "sh", "-c", script, "sh", program];
    command("unshare", &what)
}

/// Where a program is on the `PATH`.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn port(address: SocketAddr) -> String {
    address.port().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        for peer in ALL {
            assert_eq!(
                peer.is_in(folder.path()),
                !peer.needs.contains('/') && peer.needs == "node" && find("node").is_some()
            );
        }
        put_files(folder.path()).unwrap();
        assert!(folder.path().join("bundle/config.json").exists());
        assert!(find("sh").is_some() && find("no-such-program").is_none());
    }
}
