//! The admin socket: who may ask, what, and how much.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use sluice_server::{Admin, Config, SocketPath};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::running::{PATIENCE, config, start};

struct Caller {
    stream: BufReader<UnixStream>,
}

impl Caller {
    async fn connect(socket: &Path) -> Self {
        let path = SocketPath::new(socket).unwrap();
        let stream = BufReader::new(UnixStream::connect(path.as_path()).await.unwrap());
        Self { stream }
    }

    async fn asks(&mut self, line: &str) -> Value {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
        serde_json::from_str(&self.hears().await).unwrap()
    }

    /// A line, or nothing at the end.
    async fn hears(&mut self) -> String {
        let mut line = String::new();
        // A peer that is closed with bytes unread may be told so by an error.
        let read = timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("an answer");
        read.map(|_| line).unwrap_or_default()
    }
}

fn config_in(folder: &Path) -> Config {
    let (socket, backups) = (folder.join("admin.sock"), folder.join("backups"));
    Config { admin: Some(Admin { socket, backups }), ..config() }
}

#[tokio::test]
async fn requests_are_answered_in_order_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    let socket = folder.path().join("admin.sock");
    // One that a killed broker left behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = start(config).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut caller = Caller::connect(&socket).await;
    assert_eq!(caller.asks(r#"{"ping":{}}"#).await["ok"], serde_json::json!({}));
    assert_eq!(caller.asks(r#"{"backup_status":{}}"#).await["ok"]["state"], "never");
    // The fake broker makes none.
    assert_eq!(caller.asks(r#"{"backup":{}}"#).await["error"]["code"], "invalid");
    for wrong in ["", "ping", "{}", r#"{"fly":{}}"#, r#"{"backup":{"to":"/etc"}}"#, "[1]", "\u{0}"]
    {
        let refused = caller.asks(wrong).await;
        assert_eq!(refused["error"]["code"], "bad_request", "{wrong}: {refused}");
    }
    assert_eq!(caller.asks(r#"{"ping":{}}"#).await["ok"], serde_json::json!({}));
    drop(caller);
    let counted = server.stop().await;
    assert_eq!((counted.admin_requests, counted.admin_refusals), (11, 8));
    assert_eq!((counted.admin_connections, counted.rejected_admin), (1, 0));
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_request_that_is_too_long_ends_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(config_in(folder.path())).await;
    let mut caller = Caller::connect(&folder.path().join("admin.sock")).await;
    let longest = format!(r#"{{"ping":{{}}{}}}"#, " ".repeat(4096 - 11));
    assert_eq!(longest.len(), 4096);
    assert_eq!(caller.asks(&longest).await["ok"], serde_json::json!({}));
    let refused = caller.asks(&format!("{longest} ")).await;
    assert_eq!(refused["error"]["code"], "too_large");
    assert_eq!(caller.hears().await, "");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_and_a_drain_ends_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(config_in(folder.path())).await;
    let socket = folder.path().join("admin.sock");
    let mut callers = Vec::new();
    for _ in 0..8 {
        let mut caller = Caller::connect(&socket).await;
        caller.asks(r#"{"ping":{}}"#).await;
        callers.push(caller);
    }
    assert_eq!(Caller::connect(&socket).await.hears().await, "");
    let counted = server.stop().await;
    assert_eq!((counted.admin_connections, counted.rejected_admin), (9, 1));
    for mut caller in callers {
        assert_eq!(caller.hears().await, "");
    }
}

#[tokio::test]
async fn a_path_longer_than_a_sockets_address_works_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let server = start(config_in(&deep)).await;
    let mut caller = Caller::connect(&deep.join("admin.sock")).await;
    assert_eq!(caller.asks(r#"{"ping":{}}"#).await["ok"], serde_json::json!({}));
    server.stop().await;
}
