//! What the log says of faults: whose they are, one line each, and the way that led there for ours alone.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use sluice_wal::{Faults, SimulatedDisk};
use tracing_subscriber::fmt::MakeWriter;

use crate::http::client::Http;
use crate::http::codes::on;
use crate::version2::client::Client;

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// The lines about faults of one side; every line is JSON by itself.
    fn of(&self, fault: &str) -> Vec<Value> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["fault"] == fault).collect()
    }
}

// On one thread, whose log is heard here alone.
#[tokio::test]
async fn a_fault_of_the_disk_is_told_once_with_the_way_there_and_those_of_clients_without() {
    let lines = Lines::default();
    // Beside a second one: of a single one it is asked on the thread that comes to a place in the code
    // first, which may be another test's, whether what is logged there is heard.
    let _beside = tracing::Dispatch::new(tracing_subscriber::registry());
    let heard = tracing_subscriber::fmt().json().flatten_event(true).with_writer(lines.clone());
    let heard = heard.with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).finish();
    let _logged = tracing::subscriber::set_default(heard);
    let disk = SimulatedDisk::with_faults(1);
    let server = on(&disk).await;
    let (mut http, mut binary) =
        (Http::connect(server.http).await, Client::greeted(server.addr).await);
    http.get("/v1/kv/nowhere").await.refuses(404, "not_found", "");
    binary.says(|out| sluice_protocol::binary::v2::Cancel { consumer: 9 }.put(out, 3)).await;
    binary.hears_error(3, 404, "there is no such consumer").await;
    let clients = lines.of("client");
    assert_eq!(clients.len(), 2, "{clients:?}");
    assert!(clients.iter().all(|line| line["level"] == "DEBUG"), "{clients:?}");
    assert!(lines.of("server").is_empty());

    disk.set_faults(Faults { sync: u32::MAX, ..Faults::default() });
    http.ask("POST", "/enqueue", b"in doubt").await.refuses(500, "indeterminate", "");
    assert!(server.ended().await.0.is_err());
    let (ours, clients) = (lines.of("server"), lines.of("client"));
    let told: Vec<_> = ours.iter().filter(|line| line["level"] == "ERROR").collect();
    let [told] = told[..] else { panic!("{ours:?}") };
    assert_eq!(told["message"], "the broker has failed");
    let way = told["backtrace"].as_str().unwrap();
    assert!(way.contains(" | ") && !way.contains('\n'), "{way}");
    // The request that it left in doubt is no client's fault.
    assert!(ours.iter().any(|line| line["message"] == "refused" && line["status"] == 500));
    assert!(
        ours.iter().chain(&clients).filter(|line| line.get("backtrace").is_some()).count() == 1
    );
}
