//! TLS as an operator meets it: settings, files, commands, SIGHUP.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

use crate::reload::Followed;
use crate::setup::{Outcome, Place};

pub(crate) const SETTINGS: &str = "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";

/// A certificate that stands for itself.
pub(crate) fn certified() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap()
}

/// Puts a certificate where the settings look for it.
pub(crate) fn show(place: &Place, certified: &CertifiedKey<KeyPair>) {
    std::fs::write(place.path("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(place.path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
}

/// Publishes a message, as a client that trusts `ca`.
fn publish(place: &Place, broker: &Followed, ca: &str, more: &[&str]) -> Outcome {
    let addr = broker.tcp_addr().to_string();
    let args = ["publish", "demo", "x", "--server", &addr, "--tls-ca", ca];
    place.run(args.into_iter().chain(more.iter().copied()))
}

#[test]
fn check_and_serve_refuse_files_that_do_not_belong_together() {
    let place = Place::new();
    show(&place, &certified());
    place.config(SETTINGS);
    place.run(["config", "check"]).assert(0, &[]);
    let other = certified().signing_key.serialize_pem();
    std::fs::write(place.path("key.pem"), other).unwrap();
    for command in ["config check", "serve --ephemeral --tcp-addr 127.0.0.1:0"] {
        let refused = place.run(command.split(' '));
        refused.assert(78, &["sluice.toml:2:1", "tls_key: key.pem is not the key of cert.pem"]);
    }
    assert!(!place.path("sluice-data").exists());
    std::fs::remove_file(place.path("cert.pem")).unwrap();
    place.run(["config", "check"]).assert(78, &["sluice.toml:1:1", "can't read cert.pem"]);
    place.config("tls_cert = \"cert.pem\"\n");
    let half = place.run(["config", "check"]);
    half.assert(78, &["sluice.toml:1:1", "tls_cert is given and tls_key is not"]);
    let both = ["--tls-cert", "none.pem", "--tls-key", "none.pem"];
    let args = ["config", "check"].into_iter().chain(both);
    place.run(args).assert(78, &["can't read none.pem"]);
}

#[test]
fn sighup_shows_a_new_certificate_and_keeps_the_old_one_for_a_broken_file() {
    let place = Place::new();
    let (first, second) = (certified(), certified());
    show(&place, &first);
    std::fs::write(place.path("first.pem"), first.cert.pem()).unwrap();
    std::fs::write(place.path("second.pem"), second.cert.pem()).unwrap();
    let mut broker = Followed::start(&place, SETTINGS);
    publish(&place, &broker, "first.pem", &[]).assert(0, &[]);
    publish(&place, &broker, "first.pem", &["--tls-name", "elsewhere"]).assert(1, &["certificate"]);
    let strange = publish(&place, &broker, "second.pem", &[]);
    strange.assert(1, &["invalid peer certificate"]);

    show(&place, &second);
    broker.hang_up();
    broker.until("certificate reloaded");
    publish(&place, &broker, "second.pem", &[]).assert(0, &[]);
    publish(&place, &broker, "first.pem", &[]).assert(1, &["invalid peer certificate"]);

    std::fs::write(place.path("key.pem"), first.signing_key.serialize_pem()).unwrap();
    broker.hang_up();
    let seen = broker.until("the certificate could not be reloaded");
    assert!(seen.contains("key.pem is not the key of cert.pem"), "{seen}");
    publish(&place, &broker, "second.pem", &[]).assert(0, &[]);
}

#[test]
fn a_broker_that_asks_for_certificates_gets_that_of_the_command() {
    let place = Place::new();
    let (ours, worker) = (certified(), certified());
    show(&place, &ours);
    std::fs::write(place.path("worker.pem"), worker.cert.pem()).unwrap();
    std::fs::write(place.path("worker.key"), worker.signing_key.serialize_pem()).unwrap();
    let settings = format!("{SETTINGS}tls_client_ca = \"worker.pem\"\n");
    let broker = Followed::start(&place, &settings);
    let shown = ["--tls-cert", "worker.pem", "--tls-key", "worker.key"];
    publish(&place, &broker, "cert.pem", &shown).assert(0, &[]);
    publish(&place, &broker, "cert.pem", &[]).assert(1, &["CertificateRequired"]);
}
