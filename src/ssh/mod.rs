//! SSH to the primary node, with host keys that the node itself published in the bucket: nobody in between can show
//! another key and be believed. No agent, no forwarding of credentials, no `known_hosts` of the user's.

pub mod tail;

use std::fmt;
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use fruitjob_interface::hex;
use ssh_key::PublicKey;
use ssh2::{HashType, Session};

/// The user of EMR's nodes.
pub const USER: &str = "hadoop";

/// How to reach a node.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    /// 22, unless `FRUITCTL_SSH_PORT` says otherwise (for an emulator run by an ordinary user).
    pub port: u16,
    /// The private key's file.
    pub key: PathBuf,
    /// Its host keys, as published: `ssh-ed25519 AAAA...`, one each.
    pub host_keys: Vec<String>,
}

/// The port of SSH.
pub fn port() -> u16 {
    std::env::var("FRUITCTL_SSH_PORT").ok().and_then(|text| text.parse().ok()).unwrap_or(22)
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers: no route, a closed port, not there yet.
    Unreachable(String),
    /// Somebody answers who is not the node.
    WrongHostKey(String),
    /// The node does not let us in.
    Refused(String),
    /// The connection broke.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Trouble::Unreachable(why) => write!(f, "no connection: {why}"),
            Trouble::WrongHostKey(why) => write!(f, "wrong host key: {why}"),
            Trouble::Refused(why) => write!(f, "not let in: {why}"),
            Trouble::Broken(why) => write!(f, "the connection broke: {why}"),
        }
    }
}

impl From<ssh2::Error> for Trouble {
    fn from(error: ssh2::Error) -> Self {
        Trouble::Broken(error.message().to_owned())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Trouble::Broken(error.to_string())
    }
}

/// `ssh-ed25519 AAAA... comment` of each line that is a key.
pub fn parse_host_keys(text: &str) -> Vec<String> {
    let key = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    text.lines().filter(|line| PublicKey::from_openssh(line).is_ok()).map(key).collect()
}

impl Target {
    /// Connects, checks that it is the node, and logs in.
    pub fn connect(&self) -> Result<Session, Trouble> {
        let limit = Duration::from_secs(10);
        let address = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| Trouble::Unreachable(format!("{} has no address", self.host)))?;
        let stream = TcpStream::connect_timeout(&address, limit)
            .map_err(|e| Trouble::Unreachable(format!("{address}: {e}")))?;
        let _ = stream.set_nodelay(true);
        let mut session = Session::new()?;
        session.set_tcp_stream(stream);
        session.set_timeout(limit.as_millis() as u32);
        // Of the kinds that were published; without, the server might show one that we cannot compare.
        let kinds: Vec<&str> = self.host_keys.iter().filter_map(|key| key.split(' ').next()).collect();
        session.method_pref(ssh2::MethodType::HostKey, &kinds.join(","))?;
        session.handshake().map_err(|e| match e.code() {
            // LIBSSH2_ERROR_KEX_FAILURE, LIBSSH2_ERROR_METHOD_NONE: no common kind of host key.
            ssh2::ErrorCode::Session(-5 | -17) => {
                Trouble::WrongHostKey(format!("the server has none of {}", kinds.join(", ")))
            }
            _ => Trouble::Broken(e.message().to_owned()),
        })?;
        self.check(&session)?;
        session.userauth_pubkey_file(USER, None, &self.key, None).map_err(|e| {
            Trouble::Refused(format!("{} with {}: {}", USER, self.key.display(), e.message()))
        })?;
        session.set_keepalive(false, 15);
        Ok(session)
    }

    /// Not found is as fatal as another one.
    fn check(&self, session: &Session) -> Result<(), Trouble> {
        let Some((shown, _)) = session.host_key() else {
            return Err(Trouble::WrongHostKey("the server shows none".into()));
        };
        let matches = |text: &String| {
            PublicKey::from_openssh(text)
                .ok()
                .and_then(|key| key.to_bytes().ok())
                .is_some_and(|bytes| bytes == shown)
        };
        if self.host_keys.iter().any(matches) {
            return Ok(());
        }
        let print = session.host_key_hash(HashType::Sha256).map(hex).unwrap_or_default();
        Err(Trouble::WrongHostKey(format!(
            "the server's key (SHA-256 {print}) is none of the {} that the node published",
            self.host_keys.len()
        )))
    }
}

/// Runs a short command; what it prints on stdout.
pub fn output(session: &Session, command: &str) -> Result<String, Trouble> {
    let mut channel = session.channel_session()?;
    channel.exec(command)?;
    let mut text = String::new();
    channel.read_to_string(&mut text)?;
    channel.wait_close()?;
    Ok(text)
}

/// A word for the shell, whatever is in it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_anything_else_is_not() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        assert_eq!(
            parse_host_keys(&format!("{key} root@ip-10-0-0-1\n\nnonsense\nssh-ed25519 AAAA\n")),
            [key]
        );
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(quote("/mnt/a-b.c"), "/mnt/a-b.c");
        assert_eq!(quote("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quote(""), "''");
    }
}
