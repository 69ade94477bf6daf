//! The line door of the real binary, over a real socket.
//!
//! Two descriptions of older servers say what this door must do at least. Where each of their
//! stages, facts and features is tested:
//!
//! | Asked for | Test |
//! |---|---|
//! | 1.1 it starts and listens on the expected port | `stages::it_listens_where_it_says` |
//! | 1.2 many connections at once | `stages::many_clients_at_once_get_their_own_answers` |
//! | 1.3 what is echoed is exact | `stages::text_and_json_are_echoed_exactly` |
//! | 1.4 clients that vanish | `stages::clients_that_vanish_harm_nobody` |
//! | 1.5 a signal ends it gracefully | `stages::a_signal_ends_it_gracefully` |
//! | 1.6 no socket stays open | `stages::no_socket_stays_open` |
//! | 2.1 valid JSON is answered | `stages::text_and_json_are_echoed_exactly` |
//! | 2.2, 2.3 malformed JSON is an error and the connection lives on | `stages::what_is_malformed_is_an_error_and_the_connection_lives_on` |
//! | 2.4 nothing that is sent crashes it | `stages::nothing_that_is_sent_crashes_it` |
//! | 3.1 to 3.4 fields are validated, errors name them | `stages::errors_name_the_field` |
//! | 4 SET, GET, DEL, PING; 4.1 to 4.4 | `stages::values_are_stored_read_and_deleted` |
//! | 4.1 namespaces | `stages::a_namespace_keeps_its_keys_apart` |
//! | 5.1 network errors | `stages::clients_that_vanish_harm_nobody` |
//! | 5.2 idle connections close | `stages::idle_connections_close_and_subscribed_ones_do_not` |
//! | 5.3 errors are logged, clients' apart from ours | `stages::faults_of_clients_are_logged_as_theirs` |
//! | 6.1 1000 SETs overwrite nothing of each other | `crowd::a_thousand_sets_keep_their_values` |
//! | 6.2 many clients on one key | `crowd::no_update_is_lost_with_conditional_writes` |
//! | 6.3 the response time | the bench shows it |
//! | 7 it is quick | the bench shows it |
//! | 8 pub/sub between processes | `pushes::what_is_published_is_pushed_to_who_listens` |
//! | 8 an observer disappears | `pushes::a_client_that_is_gone_leaves_nothing_behind` |
//! | 8 spoofing | `pushes::the_sender_is_stamped_and_names_of_the_broker_are_its_own` |
//! | `PING` gets `PONG` | `stages::it_listens_where_it_says` |
//! | `SHUTDOWN` gets `BYE`, and it ends with 0 | `stages::shutdown_says_bye_and_ends_with_0` |
//! | unknown gets `ERR unknown command` | `stages::what_is_malformed_is_an_error_and_the_connection_lives_on` |
//! | limits on requests | `stages::limits_are_told_with_the_time_to_retry` |
//! | a queue: enqueue, dequeue, ack, nack, retries | `queues::a_message_is_leased_settled_and_tried_again` |

mod crowd;
mod histories;
mod pushes;
mod queues;
mod stages;

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use sluice_bench::process::Broker;

use crate::setup::Place;

/// As long as an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker with this line in its configuration.
fn set(place: &Place, line: &str) -> Broker {
    let config = place.config(&format!("{line}\n"));
    place.launch().arg("--config").arg(config).start().unwrap()
}

/// A client of the line door.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(broker: &Broker) -> Self {
        Self::over(TcpStream::connect(broker.tcp_addr()).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line without its end; none at the connection's end.
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).ok()?;
        line.pop_if(|last| *last == b'\n')?;
        Some(String::from_utf8(line).unwrap())
    }

    fn next(&mut self) -> String {
        self.line().expect("the broker closed the connection")
    }

    /// What is said to one line.
    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.next()
    }

    /// The same in JSON.
    fn json(&mut self, line: &str) -> serde_json::Value {
        let said = self.ask(line);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Sends a line; none where the broker is gone.
    fn try_send(&mut self, line: &str) -> Option<()> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).ok()
    }

    /// What is said to a request; none where the broker is gone before.
    fn try_json(&mut self, request: &serde_json::Value) -> Option<serde_json::Value> {
        self.try_send(&request.to_string())?;
        let said = self.line()?;
        Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }

    fn close_half(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }
}

/// The client of the examples does everything once.
#[test]
fn the_python_client_does_all_that_there_is() {
    let (place, tour) =
        (Place::new(), concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python/tour.py"));
    let broker = place.broker();
    let addr = broker.tcp_addr();
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    let toured = Command::new("python3").args(["-B", tour, &host, &port]).output().unwrap();
    assert!(toured.status.success(), "{}", String::from_utf8_lossy(&toured.stderr));
    assert_eq!(broker.terminate().unwrap().code(), Some(0));
}
