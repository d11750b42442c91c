//! `fruitctl ssh` and `fruitctl tunnel`: OpenSSH's client, with the host keys that the node published and no others.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::app;
use crate::cli::{Cli, CloudArgs, SshArgs};
use crate::error::{Error, Kind, Result};
use crate::run::node::target;
use crate::ssh::{Target, USER};
use crate::stack::{Spec, cluster, key_pair};
use crate::ui;

/// Local port, the node's port, and what is there.
/// Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-web-interfaces.html
const PORTS: [(u16, u16, &str, &str); 3] = [
    (18080, 18080, "http", "Spark History Server"),
    (8088, 8088, "http", "YARN"),
    (9443, 9443, "https", "JupyterHub"),
];

/// Becomes `ssh`.
pub fn shell(cli: &Cli, args: &SshArgs) -> Result<()> {
    let target = find(cli, &args.cloud)?;
    let mut command = client(&target)?;
    command.arg("--").arg(&target.host).args(&args.command);
    Err(failed(command.exec()))
}

/// Opens the ports, and becomes `ssh`.
pub fn tunnel(cli: &Cli, args: &CloudArgs) -> Result<()> {
    let target = find(cli, args)?;
    let mut command = client(&target)?;
    command.args(["-N", "-o", "ExitOnForwardFailure=yes"]);
    for (here, there, scheme, what) in PORTS {
        command.args(["-L", &format!("127.0.0.1:{here}:localhost:{there}")]);
        ui::say(&format!("{what:<21} {scheme}://localhost:{here}"));
    }
    ui::note("Ctrl-C closes them");
    command.arg("--").arg(&target.host);
    Err(failed(command.exec()))
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Kind::Usage, format!("cannot start ssh: {error}")).help("install OpenSSH's client")
}

/// The project's cluster, and how to reach it.
fn find(cli: &Cli, args: &CloudArgs) -> Result<Target> {
    let config = app::settings(cli, args)?;
    // Not app::block_on, which listens to signals: one that came between this and 'ssh' would be heard by nobody.
    app::runtime()?.block_on(Box::pin(async {
        let (aws, names) = app::connect(&config, app::Access::Reads).await?;
        let spec = Spec::to_read(&config, &aws).await?;
        let clusters = cluster::living(&names, &aws).await?;
        let found =
            clusters.iter().find(|c| c.status.is_usable() && c.primary_dns.is_some()).ok_or_else(|| {
                Error::usage(format!("there is no cluster to log in to in {}", aws.region))
                    .help("fruitctl status, or: fruitctl up --wait")
            })?;
        if spec.key_pair.as_ref().is_some_and(|ours| ours.name != found.cluster.key_pair) {
            return Err(Error::usage(format!(
                "the cluster's key pair, {}, is another machine's",
                found.cluster.key_pair
            ))
            .help("log in from there"));
        }
        if spec.network.is_private {
            ui::note("the node is in a private subnet: only its VPC, or a VPN into it, leads there");
        }
        target(&found.id, found.primary_dns.as_deref().unwrap_or_default(), &spec, &aws).await
    }))
}

/// `ssh` that believes the published keys and nothing else, and hands on no credentials.
fn client(target: &Target) -> Result<Command> {
    let dir = key_pair::data_dir()?.join("known_hosts");
    let file = dir.join(&target.host);
    let name =
        if target.port == 22 { target.host.clone() } else { format!("[{}]:{}", target.host, target.port) };
    let lines: String = target.host_keys.iter().map(|key| format!("{name} {key}\n")).collect();
    let write = || {
        std::fs::create_dir_all(&dir)?;
        std::fs::File::create(&file)?.write_all(lines.as_bytes())
    };
    write().map_err(|e| Error::new(Kind::Failed, format!("cannot write {}: {e}", file.display())))?;
    let mut command = Command::new("ssh");
    // No file of settings: one for all hosts could hand on an agent, run a command here, go by another host, or use a
    // connection whose host key was never checked. Source: https://man.openbsd.org/ssh_config
    command.args(["-F", "none"]);
    command.arg("-i").arg(&target.key).args(["-p", &target.port.to_string(), "-l", USER]);
    for option in [
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        &format!("UserKnownHostsFile=\"{}\"", file.display()),
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        "ForwardAgent=no",
        "UpdateHostKeys=no",
        // A door that is closed drops packets, and does not answer.
        "ConnectTimeout=15",
        "ServerAliveInterval=30",
    ] {
        command.args(["-o", option]);
    }
    Ok(command)
}
