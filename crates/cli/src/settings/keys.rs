//! The table of settings. Everything that knows them by name is made from it: the parsers of
//! files, variables and flags, suggestions, `sluice config`, the default file, and the table in
//! `docs/operations.md`.
//!
//! An entry is a doc comment, the name, what the key takes, the fields of the configs that it is
//! written to (the first is read), and in brackets what else there is to it. Defaults are those of
//! the configs. A listener that comes gets its flag by `[flag("HOST:PORT")]`.

use super::key::{Key, Section, Traits};
use super::kind::Kind::{
    Bytes, Count, Endpoint, Fraction, Http, LogFilter, Names, Path, PathOrNone, Policy, Secrets,
    Switch, Time, Word,
};
use super::kind::Reading::{EveryN, FileOfOld, Interval, Port, Same};
use super::value::{Field, LEVELS, LOG_FORMATS, ON_EXPIRE, ORDERS, OVERFLOW};

macro_rules! sections {
    ($([$section:ident] $title:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:expr
            => $($field:ident).+ $(& $($more:ident).+)*
            $([$($attribute:ident($($argument:expr)?)),+])?;
    )+})+) => {
        /// Every section with its keys.
        pub(crate) static SECTIONS: &[Section] = &[$(
            Section {
                name: stringify!($section),
                title: $title,
                keys: &[$(
                    Key {
                        section: stringify!($section),
                        name: stringify!($name),
                        doc: &[$($doc),+],
                        kind: $kind,
                        get: |settings| settings.$($field).+.value(),
                        set: |settings, value| {
                            settings.$($field).+.set(value)?;
                            $(settings.$($more).+.set(value)?;)*
                            Ok(())
                        },
                        traits: Traits::NONE$($(.$attribute($($argument)?))+)?,
                    },
                )+],
            },
        )+];
    };
}

sections! {
    [server] "Where the broker listens, and how it ends" {
        /// Where the binary and the line door listen: HOST or HOST:PORT; port 0 takes a free one
        tcp_addr: Endpoint => server.tcp_addr [
            flag("HOST:PORT"),
            also(&[("bind_addr", Same), ("port", Port)]),
            variables(&[("RATELIMMQ_HOST", Same), ("RATELIMMQ_PORT", Port)])
        ];
        /// Where metrics are served for Prometheus, at `/metrics`: HOST or HOST:PORT; port 0 takes a
        /// free one
        metrics_addr: Endpoint => server.metrics.addr [
            flag("HOST:PORT"),
            also(&[("metrics_port", Port)])
        ];
        /// Whether they are served there
        metrics: Switch => server.metrics.listens;
        /// Most queues that metrics show one by one; of the others they show the sum
        metrics_queues_max: Count => server.metrics.queues_max;
        /// Memory in use near which the broker refuses publishes, then connections; 0 for half of
        /// what there is
        memory_max: Bytes => memory_max;
        /// How long connections get to finish when the broker drains
        drain_timeout: Time => server.drain_timeout;
        /// Serves tokio-console on 127.0.0.1:6669, in builds with the feature `console`
        enable_tokio_console: Switch => enable_tokio_console;
    }

    [security] "Who is let in" {
        /// The keys that clients may show; none lets in everyone on this machine
        allowed_api_keys: Secrets => server.allowed_api_keys;
        /// The file of keys with grants; else `keys.toml` in `data_dir`, if it is there
        keys_file: PathOrNone => keys_file [flag("FILE")];
        /// Listen beyond this machine without keys
        insecure_no_auth: Switch => server.insecure_no_auth [flag("")];
        /// Take keys in the clear from beyond this machine
        insecure_plaintext: Switch => server.insecure_plaintext [flag("")];
        /// Where keys are configured: how long a client may take to authenticate
        first_frame_timeout: Time => server.first_frame_timeout;
    }

    [tls] "TLS, on the TCP port and the HTTP door" {
        /// The certificate and those between it and a root, in PEM; none for no TLS. Read again at
        /// SIGHUP, as are the next two
        tls_cert: PathOrNone => server.tls.cert [flag("FILE")];
        /// Its key, in PEM
        tls_key: PathOrNone => server.tls.key [flag("FILE")];
        /// Clients have to show a certificate that one of these vouches for, in PEM; none to ask for
        /// none
        tls_client_ca: PathOrNone => server.tls.client_ca [flag("FILE")];
        /// How long a client may take from its connection to the end of the handshake
        tls_handshake_timeout: Time => server.tls.handshake_timeout;
    }

    [http] "The HTTP door" {
        /// Where it listens: HOST:PORT; `:PORT` for all interfaces where that is safe or accepted,
        /// else loopback; `off` for nowhere
        http_addr: Http => server.http.addr [flag("HOST:PORT"), alias("addr")];
        /// Hosts that clients may ask for beside localhost and the addresses of this machine
        allowed_hosts: Names => server.http.allowed_hosts;
        /// Most messages of the queue `default`, that of `POST /enqueue`
        default_max_messages: Count => server.http.default_max_messages [
            flag("COUNT"),
            named("max-msgs"),
            variables(&[("QUEUE_MAX_MSGS", Same)])
        ];
        /// Most bytes of its messages
        default_max_bytes: Bytes => server.http.default_max_bytes [
            flag("SIZE"),
            named("max-bytes"),
            variables(&[("QUEUE_MAX_BYTES", Same)])
        ];
        /// Longest body of `POST /enqueue`
        max_body: Bytes => server.http.max_body [flag("SIZE")];
        /// Longest body of a request in JSON
        max_json: Bytes => server.http.max_json;
        /// Longest head of a request
        head_max: Bytes => server.http.head_max;
        /// Most headers of a request
        headers_max: Count => server.http.headers_max;
        /// How long the head of a request may take
        head_timeout: Time => server.http.head_timeout;
        /// How long a body may take before `body_rate_min` counts
        body_grace: Time => server.http.body_grace;
        /// Bytes a second that a body must come with
        body_rate_min: Bytes => server.http.body_rate_min;
        /// How long an answer may make no progress
        response_timeout: Time => server.http.response_timeout;
        /// How long a connection may be open between two requests
        http_idle_timeout: Time => server.http.idle_timeout;
        /// Longest time that a receive may wait
        wait_max: Time => server.http.wait_max;
        /// Most snapshots that `POST /persist` keeps
        snapshots_max: Count => server.http.snapshots_max;
        /// Longest of them
        snapshot_max_bytes: Bytes => server.http.snapshot_max_bytes;
    }

    [admission] "Which requests of the HTTP door may begin" {
        /// Requests at work at once
        workers: Count => server.admission.workers [flag("COUNT"), live()];
        /// Requests that may wait for one of these to end; the next one is refused
        queue_size: Count => server.admission.queue_size [flag("COUNT"), live()];
        /// Connections that are served at once for each processor while it is behind; others wait their
        /// turn, unread; 0 has none wait
        turns: Count => server.admission.turns [live()];
        /// Requests that may wait for something to happen: long polls, streams, delays, bodies
        parked_max: Count => server.admission.parked_max [live()];
        /// Requests a second of each client: of its key, without one of its address (of IPv6 its
        /// /64); 0 for no limit
        client_rate: Count => server.admission.client.rate [flag("COUNT"), live()];
        /// Requests of a client that may come at once before `client_rate` counts
        client_burst: Count => server.admission.client.burst [flag("COUNT"), live()];
        /// How long a request that comes too fast is delayed at most; 0 refuses it at once; up to
        /// 5m
        client_delay_max: Time => server.admission.client.delay_max [live()];
        /// Most requests of one client that are delayed at once
        client_delayed_max: Count => server.admission.client.delayed_max [live()];
        /// Clients that have a rate of their own; further ones share one
        clients_max: Count => server.admission.clients_max;
        /// Requests a second of all clients together; 0 for no limit
        global_rate: Count => server.admission.global.rate [flag("COUNT"), live()];
        /// Requests that may come at once before `global_rate` counts
        global_burst: Count => server.admission.global.burst [flag("COUNT"), live()];
        /// How long a request that comes too fast is delayed at most; 0 refuses it at once; up to
        /// 5m
        global_delay_max: Time => server.admission.global.delay_max [live()];
        /// Most requests that are delayed by it at once
        global_delayed_max: Count => server.admission.global.delayed_max [live()];
    }

    [connections] "Bounds of connections" {
        /// Most connections at once; 0 derives it: the limit on descriptors less 256
        connections_max: Count => server.connections_max;
        /// Of these, most by one address (of IPv6, one /64) other than loopback
        per_address: Count => server.per_address_max;
        /// Of these, most with one key
        per_principal: Count => server.per_principal_max;
        /// Connections accepted a second; 0 for no limit
        accept_rate: Count => server.accept_rate;
        /// Connections accepted at once before `accept_rate` counts
        accept_burst: Count => server.accept_burst;
        /// How long a line client, or one that has sent nothing yet, may be silent; 0 for ever
        idle_timeout: Time => server.idle_timeout;
        /// How long a client may take none of the replies that wait for it
        write_timeout: Time => server.write_timeout;
        /// Replies that may wait for a slow reader
        out_max_bytes: Bytes => server.out_max_bytes & local.engine.session_out_max;
        /// Longest frame of the binary protocol
        frame_max: Bytes => server.frame_max;
        /// Longest line of the line door
        max_line_bytes: Bytes => server.max_line_bytes;
        /// Most unsettled deliveries of one connection, of whatever version
        max_in_flight: Count => server.max_in_flight & local.engine.session_leases_max;
    }

    [storage] "The log on disk" {
        /// Where messages are kept
        data_dir: Path => data_dir [flag("DIR"), also(&[("wal_path", FileOfOld)])];
        /// Keep everything in memory only
        ephemeral: Switch => ephemeral [flag("")];
        /// Where backups go; else `backups` in `data_dir`. Better another disk
        backup_dir: PathOrNone => backup_dir [flag("DIR")];
        /// How many backups are kept, the newest; 0 for all
        backup_keep: Count => backup_keep;
        /// When messages are synced: `always`, `every_n:N`, `interval_ms:N` or `none`;
        /// only `always` waits for the disk before it confirms
        fsync_policy: Policy => local.pace.policy [
            flag("POLICY"),
            also(&[("fsync_every_n", EveryN), ("fsync_interval", Interval)])
        ];
        /// Size of a log file
        segment_bytes: Bytes => local.wal.segment_bytes;
        /// Most of the log that a start replays; at most half of `segment_bytes`
        replay_max: Bytes => local.replay_max;
        /// A checkpoint is made at least so often, if there was anything since the last
        checkpoint_interval: Time => local.checkpoint_interval;
        /// Messages that may wait to be written; past it publishes are refused
        waiting_max: Bytes => local.pace.waiting_max;
        /// With fewer free bytes on the disk, or than an eighth of it, publishes are refused
        disk_low: Bytes => local.disk_low;
        /// Space set aside for settlements on a full disk; less on a small one
        settlements_reserve: Bytes => local.wal.settlements_reserve;
        /// How much of what was written last is kept in memory for readers
        resident_bytes: Bytes => local.wal.resident_bytes;
        /// Messages are written together until they are more than this
        commit_bytes: Bytes => local.wal.frame_bytes;
        /// What nobody waits for is synced within this time; at most 1s
        sync_lazy: Time => local.pace.sync_lazy;
        /// After so long without a commit the log notes what is synced
        sync_mark_after: Time => local.pace.mark_after;
        /// A start refuses a clock that is further ahead of the log
        clock_ahead_max: Time => local.clock_ahead_max;
        /// Keep the log on a file system that copies on write
        allow_unsafe_fs: Switch => local.wal.allow_unsafe_fs [flag("")];
    }

    [queues] "What queues and subscriptions start with" {
        /// Deliveries of a message in all before it goes to the dead set; 0 for no limit
        max_retries: Count
            => local.engine.queue.max_failures & local.engine.unnamed.max_failures;
        /// Times that a message may be given back before it goes to the dead set
        max_releases: Count
            => local.engine.queue.max_releases & local.engine.unnamed.max_releases;
        /// Delay after the first failure
        retry_backoff: Time
            => local.engine.queue.backoff.min & local.engine.unnamed.backoff.min;
        /// No delay is longer; raised to `retry_backoff` where only that is given
        retry_backoff_max: Time
            => local.engine.queue.backoff.max & local.engine.unnamed.backoff.max;
        /// By what each further failure multiplies the delay; at least 1
        retry_factor: Fraction
            => local.engine.queue.backoff.factor & local.engine.unnamed.backoff.factor;
        /// Which part of a delay is left to chance, from 0 to 1
        retry_jitter: Fraction
            => local.engine.queue.backoff.jitter & local.engine.unnamed.backoff.jitter;
        /// Time to settle a delivery of a queue or a named subscription; 1ms to 12h
        lease: Time => local.engine.queue.lease;
        /// Time to acknowledge a delivery over version 1 of the binary protocol; from 50ms
        v1_ack_timeout: Time => local.engine.unnamed.lease;
        /// How long a message may wait; 0 for ever
        ttl: Time => local.engine.queue.ttl & local.engine.unnamed.ttl;
        /// What happens then: `drop`, or `dead` to park it in the dead set
        on_expire: Word(ON_EXPIRE)
            => local.engine.queue.on_expire & local.engine.unnamed.on_expire;
        /// Largest message
        max_message_bytes: Bytes
            => server.max_message_bytes & local.engine.queue.max_message_bytes
            & local.engine.unnamed.max_message_bytes;
        /// Most messages of one queue or named subscription
        max_messages: Count => local.engine.queue.max_messages;
        /// The same of a subscription over version 1, which loses its oldest past it
        v1_max_messages: Count => local.engine.unnamed.max_messages;
        /// Most bytes of one queue's or subscription's messages
        max_bytes: Bytes
            => local.engine.queue.max_bytes & local.engine.unnamed.max_bytes;
        /// What a full queue does with the next message: `reject`; or `drop_oldest`, counted; or
        /// `dead`, which parks the oldest in the dead set
        overflow: Word(OVERFLOW) => local.engine.queue.overflow;
        /// The same of a subscription over version 1
        v1_overflow: Word(OVERFLOW) => local.engine.unnamed.overflow;
        /// Whether messages of a group follow each other: `none`; or `group_fifo`, where one is handed
        /// over when the one before it is settled
        order: Word(ORDERS) => local.engine.queue.order & local.engine.unnamed.order;
        /// Groups of messages take turns; otherwise the oldest message goes first, whatever its group
        fair: Switch => local.engine.queue.is_fair & local.engine.unnamed.is_fair;
        /// `sync` confirms what is on disk; `os` what the kernel has, which survives a crash of
        /// the broker but not of the machine; `memory` what the broker has
        durability: Word(LEVELS) => local.engine.queue.level & local.engine.unnamed.level;
        /// How long a dedupe id is remembered, where a queue says nothing else, and for topics
        dedupe_window: Time
            => local.engine.queue.dedupe_window & local.engine.unnamed.dedupe_window;
        /// Most dedupe ids remembered at a time, of one topic or queue
        dedupe_max: Count => local.engine.queue.dedupe_max & local.engine.unnamed.dedupe_max;
        /// Most topics whose dedupe ids are remembered at a time; past it publishes that carry an
        /// id to another topic are refused
        dedupe_topics_max: Count => local.engine.dedupe_topics_max;
        /// Most of them by one key; 0 for a quarter
        dedupe_topics_per_principal: Count => local.engine.dedupe_topics_per_principal;
        /// How long the dead set keeps a message; 0 for ever
        dead_ttl: Time => local.engine.queue.dead_ttl & local.engine.unnamed.dead_ttl;
        /// Most messages in a queue's dead set; those that overflowed into it have as many apart
        dead_max: Count => local.engine.queue.dead_max & local.engine.unnamed.dead_max;
        /// Most bytes of messages in a queue's dead set, likewise
        dead_max_bytes: Bytes
            => local.engine.queue.dead_max_bytes & local.engine.unnamed.dead_max_bytes;
        /// How long a named subscription without a consumer lives; 0 for ever
        inactive_expiry: Time => local.engine.queue.inactive_expiry;
        /// Most messages of a batch, and most that one receive takes
        batch_max: Count => server.batch_max & local.engine.batch_max;
        /// Most bytes of a batch
        batch_bytes_max: Bytes => local.engine.batch_bytes_max;
        /// Longest life of a lease, extensions included
        lease_max: Time => local.engine.lease_max;
        /// Most queues at a time
        queues_max: Count => local.engine.queues_max;
        /// Most of them by one key; 0 for a quarter
        queues_per_principal: Count => local.engine.queues_per_principal;
        /// What a subscriber at most once may have waiting before it loses the oldest
        sub_buffer_bytes: Bytes => local.engine.subscriber_buffer_bytes;
        /// Most subscriptions at a time
        subscriptions_max: Count => local.engine.subscriptions_max;
        /// Most of them by one key; 0 for a quarter
        subscriptions_per_principal: Count => local.engine.subscriptions_per_principal;
        /// How long a subscription without a name lives without a consumer
        unnamed_expiry: Time => local.engine.unnamed.inactive_expiry;
        /// Time between the loss of a connection and the end of its leases
        lost_grace: Time => local.engine.lost_grace;
        /// After a restart, leases that no connection holds live at least so much longer
        recovered_lease: Time => local.engine.recovered_lease;
        /// So many settled leases are remembered over all queues, so that a repeated ack is known as one;
        /// each queue has an equal share, from 16 to 4 096
        settled_max: Count => local.engine.settled_max;
        /// Most deadlines that fire at once; the rest follow
        deadlines_per_turn: Count => local.engine.deadlines_per_turn;
    }

    [flow] "Flow control; the limits themselves stand in `[limits.NAME]`" {
        /// Most limits, those of the file included
        limits_max: Count => local.engine.limits_max;
        /// Most keys of messages of which something is known; messages with further ones wait. At
        /// least 40, which limits may count for one message
        live_keys_max: Count => local.engine.live_keys_max;
        /// The longest pause of a key that a consumer can ask for
        pause_max: Time => local.engine.pause_max;
    }

    [kv] "Keys and values" {
        /// Most bytes of keys with their values, which are kept in memory; past it writes that add to
        /// them are refused. They count towards `memory_max` too
        kv_bytes_max: Bytes => local.engine.kv_bytes_max;
        /// So many changes of keys are remembered for watches, also over a restart; from 4 096 on, and
        /// with 1 MiB or more of them, up to 255 more
        watch_history: Count => local.engine.watch_history;
        /// These take so much at most
        watch_history_bytes: Bytes => local.engine.watch_history_bytes;
        /// Most watches at a time
        watches_max: Count => local.engine.watches_max;
        /// Most of them by one key; 0 for a quarter
        watches_per_principal: Count => local.engine.watches_per_principal;
    }

    [logging] "What is logged to standard error" {
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or filters such as
        /// `sluice_broker=debug`
        log_level: LogFilter => log_level [flag("LEVEL"), live()];
        /// How log lines are written: `text` or `json`
        log_format: Word(LOG_FORMATS) => log_format [flag("FORMAT")];
    }
}
