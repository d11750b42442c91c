//! A folder, served to this machine alone: what a page is tried with.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cancel::Cancel;
use crate::error::{Error, Kind, Result};

/// A request's lines, at most, in bytes.
const MOST: usize = 16 << 10;
/// How long a browser may take to ask.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every answer says: nothing of the page reaches elsewhere, and no other may show it in itself.
const HEADERS: &str = "Content-Security-Policy: default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
                       X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n";

/// Serves a folder at this port of 127.0.0.1 until it is stopped; `ready` is told the address. Port 0 is one that is free.
pub async fn serve(dir: &Path, port: u16, cancel: &Cancel, ready: impl FnOnce(&str)) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|e| {
        let error = Error::new(Kind::Failed, format!("cannot serve at port {port} of this machine: {e}"));
        match e.kind() {
            ErrorKind::AddrInUse => error.help("name another port: --serve 8001"),
            _ => error,
        }
    })?;
    let address =
        listener.local_addr().map_err(|e| Error::new(Kind::Failed, format!("cannot serve: {e}")))?;
    ready(&format!("http://{address}/"));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = cancel.cancelled() => return Ok(()),
        };
        // One that was given up before it was taken is no reason to end.
        let Ok((stream, _)) = accepted else { continue };
        let dir = dir.to_owned();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, answer(stream, &dir, address.port())).await;
        });
    }
}

async fn answer(mut stream: TcpStream, dir: &Path, port: u16) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 2048];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            n => request.extend_from_slice(&part[..n]),
        }
        if request.len() > MOST {
            return reply(&mut stream, "431 Request Header Fields Too Large", "text/plain", b"", true).await;
        }
    }
    let text = String::from_utf8_lossy(&request);
    let mut words = text.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let head_only = method == "HEAD";
    if !head_only && method != "GET" {
        return reply(&mut stream, "405 Method Not Allowed", "text/plain", b"only GET and HEAD\n", true)
            .await;
    }
    // A page elsewhere whose name was made to lead here is not answered.
    let host = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
    });
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    if !host.is_some_and(|host| ours.contains(&host)) {
        return reply(&mut stream, "421 Misdirected Request", "text/plain", b"", head_only).await;
    }
    let found = match file_of(dir, target) {
        Some(file) => tokio::fs::read(&file).await.ok().map(|bytes| (kind_of(&file), bytes)),
        None => None,
    };
    match found {
        Some((kind, bytes)) => reply(&mut stream, "200 OK", kind, &bytes, head_only).await,
        None => {
            reply(&mut stream, "404 Not Found", "text/plain", b"there is no such file\n", head_only).await
        }
    }
}

async fn reply(
    stream: &mut TcpStream,
    status: &str,
    kind: &str,
    body: &[u8],
    head_only: bool,
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-cache\r\n{HEADERS}\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    if !head_only {
        stream.write_all(body).await?;
    }
    stream.shutdown().await
}

/// The file below `dir` that a request is for; none where it would lead elsewhere, by a link too.
fn file_of(dir: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let path = if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path.into() };
    let plain = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    let file = plain.then(|| dir.join(path))?;
    let real = file.canonicalize().ok()?;
    (real.starts_with(dir.canonicalize().ok()?) && real.is_file()).then_some(real)
}

fn kind_of(file: &Path) -> &'static str {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_leads_out_of_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("page");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(outer.path().join("secret"), "x").unwrap();
        std::fs::write(dir.join("index.html"), "x").unwrap();
        std::fs::write(dir.join("a b.js"), "x").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), dir.join("link")).unwrap();
        for good in ["/", "/index.html", "/?x=1", "/a%20b.js"] {
            assert!(file_of(&dir, good).is_some(), "{good}");
        }
        for bad in
            ["", "x", "/../secret", "/%2e%2e/secret", "//etc/passwd", "/link", "/none", "/%ff", "http://a/"]
        {
            assert_eq!(file_of(&dir, bad), None, "{bad}");
        }
        assert_eq!(kind_of(Path::new("a.wasm")), "application/wasm");
    }
}
