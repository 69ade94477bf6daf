//! What requests may have, for the document alone: `sluice_protocol::json` reads them. A test holds
//! the two against each other.
#![expect(dead_code, reason = "the document is made from their fields")]

use std::collections::BTreeMap;

use sluice_protocol::json;
use utoipa::{IntoParams, ToSchema};

/// A name in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct InPath {
    /// 1 to 16 tokens joined by dots, at most 255 bytes.
    name: String,
}

/// A message in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct MessageInPath {
    /// Of the queue.
    name: String,
    /// Of the message.
    id: String,
}

/// A key in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyInPath {
    /// What its holder is called.
    id: String,
}

/// A key of the store of keys and values in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NameOfKey {
    /// 1 to 16 levels joined by `^`, at most 255 bytes.
    key: String,
}

/// How a key is set.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SetOf {
    /// It expires after so long; else never.
    #[param(minimum = 1)]
    ttl_ms: Option<u64>,
    /// Only if there is no such key.
    if_absent: Option<bool>,
    /// Only if its last change has this revision.
    if_revision: Option<u64>,
    /// Makes a second set with the same id a duplicate.
    dedupe_id: Option<String>,
}

/// How a key is removed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteOf {
    /// Only if its last change has this revision.
    if_revision: Option<u64>,
}

/// Which keys are read.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ScanOf {
    /// This one alone.
    key: Option<String>,
    /// Those that begin so.
    prefix: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Keys of a page; fewer come where more would be too much.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
    /// With their values.
    #[param(default = true)]
    values: Option<bool>,
}

/// Which keys are watched.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WatchOf {
    /// This one alone.
    key: Option<String>,
    /// Those that begin so; all of them without either.
    prefix: Option<String>,
    /// What happened from this revision on comes first.
    from: Option<u64>,
}

/// What is added to a number.
#[derive(ToSchema)]
pub(super) struct Increment {
    /// How much; may be negative.
    #[schema(default = 1)]
    by: Option<i64>,
    /// Makes a second addition with the same id a duplicate.
    dedupe_id: Option<String>,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The `next` of the page before.
    after: Option<String>,
    /// Entries of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// Whether it goes although it is used.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Force {
    /// Even while something is leased or somebody listens.
    force: Option<bool>,
}

/// A limit in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct LimitInPath {
    /// 1 to 64 of a-z, 0-9, `.`, `_` and `-`.
    name: String,
}

/// Which limits are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LimitsOf {
    /// Only those of that name.
    name: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Entries of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// Which of the limits of a name.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MatchOf {
    /// The one with that pattern of queues.
    queue: Option<String>,
    /// The one with that pattern of keys.
    key: Option<String>,
}

/// How many keys are shown.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TopOf {
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// Whose next message is asked about; of all without either.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainOf {
    /// That of a group.
    group: Option<String>,
    /// That under a key.
    key: Option<String>,
}

/// Which messages are looked at.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// `ready`, `delayed`, `leased` or `dead`.
    state: Option<String>,
    /// Only those of this group.
    group: Option<String>,
    /// Only those with this key.
    key: Option<String>,
    /// Only those published so long ago.
    age_min_ms: Option<u64>,
    /// Only those that died so.
    reason: Option<String>,
    /// The `next` of the page before.
    after: Option<u64>,
    /// Entries of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// What the headers of a raw message say of it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct MessageHeaders {
    /// How long it may wait.
    #[param(rename = "Sluice-Ttl-Ms")]
    ttl_ms: Option<u64>,
    /// How long it stays hidden at first.
    #[param(rename = "Sluice-Delay-Ms")]
    delay_ms: Option<u64>,
    /// Until when it stays hidden at first.
    #[param(rename = "Sluice-Deliver-At")]
    deliver_at: Option<u64>,
    /// 0 to 9, 9 first.
    #[param(rename = "Sluice-Priority", minimum = 0, maximum = 9, default = 5)]
    priority: Option<u8>,
    /// What order and fairness refer to.
    #[param(rename = "Sluice-Group")]
    group: Option<String>,
    /// What limits refer to, between commas.
    #[param(rename = "Sluice-Keys")]
    keys: Option<String>,
    /// One of them, which may have commas in it; the header may come more than once.
    #[param(rename = "Sluice-Key")]
    key: Option<String>,
    /// What it counts for in limits and fairness.
    #[param(rename = "Sluice-Cost", minimum = 1, maximum = 1000, default = 1)]
    cost: Option<u16>,
    /// Makes a second publish with the same id a duplicate.
    #[param(rename = "Sluice-Dedupe-Id")]
    dedupe_id: Option<String>,
    /// The least level that is accepted: `memory`, `os` or `sync`.
    #[param(rename = "Sluice-Level")]
    level: Option<String>,
}

/// What a limit is to be like: at least one of `rate`, `window` and `concurrency`.
#[derive(ToSchema)]
pub(super) struct NewLimit {
    /// What it counts: `queue`, `key`, `client` or `global`; else `key` where one is given, or
    /// `queue`.
    scope: Option<String>,
    /// Which queues: a name or a pattern.
    #[schema(default = ">")]
    queue: Option<String>,
    /// Which keys: one, or with a `*` at its end all that begin so.
    key: Option<String>,
    /// Tokens per period, as in `5/s`, or a number for every `per_ms`.
    rate: Option<Rate>,
    /// The period of a rate that is a number.
    #[schema(minimum = 1, default = 1000)]
    per_ms: Option<u64>,
    /// Most tokens that may be taken at once.
    #[schema(minimum = 1, default = 1)]
    burst: Option<u32>,
    /// Most deliveries in any interval of a length, as in `100/1m`.
    window: Option<Window>,
    /// Most leases at once; 0 is closed.
    concurrency: Option<u32>,
    /// What becomes of requests that come too fast: `refuse` or `delay`.
    mode: Option<String>,
    /// How long they are delayed at most.
    #[schema(minimum = 1, maximum = 60000)]
    max_wait_ms: Option<u64>,
}

/// A rate.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Rate {
    /// As in `2.5/s` or `100/10m`.
    Text(String),
    /// So many.
    Number(f64),
}

/// A window.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Window {
    /// As in `100/1m`.
    Text(String),
    /// In its parts.
    Parts {
        /// Most deliveries.
        #[schema(minimum = 1, maximum = 100000)]
        max: u32,
        /// The length of the interval.
        #[schema(minimum = 1)]
        length_ms: u64,
    },
}

/// What is paused.
#[derive(ToSchema)]
pub(super) struct Pause {
    /// This key alone.
    key: Option<String>,
    /// How long; else until it is resumed.
    for_ms: Option<u64>,
    /// Kept for those who ask why.
    reason: Option<String>,
}

/// Which pause ends.
#[derive(ToSchema)]
pub(super) struct Resume {
    /// That of this key.
    key: Option<String>,
}

/// What turns a group has.
#[derive(ToSchema)]
pub(super) struct Weigh {
    /// Which group.
    group: String,
    /// So many for one of others.
    #[schema(minimum = 1, maximum = 1000)]
    weight: u16,
}

/// What a queue is to be like.
#[derive(ToSchema)]
pub(super) struct Settings {
    /// By name; the others follow the broker's defaults.
    settings: Option<BTreeMap<String, json::Value>>,
}

/// Which messages are deleted.
#[derive(ToSchema)]
pub(super) struct Purge {
    /// Those that are ready or delayed.
    waiting: Option<bool>,
    /// Those that somebody holds.
    leased: Option<bool>,
    /// Those in the dead set.
    dead: Option<bool>,
}

/// Which messages of the dead set are put back.
#[derive(ToSchema)]
pub(super) struct Redrive {
    /// These; then neither `reason` nor `age_min_ms`.
    ids: Option<Vec<String>>,
    /// Only those that died so.
    reason: Option<String>,
    /// Only those that have been dead so long.
    age_min_ms: Option<u64>,
    /// At most so many a second; the answer comes at once and the work goes on.
    per_second: Option<u32>,
}

/// When a message comes.
#[derive(ToSchema)]
pub(super) struct Reschedule {
    /// Milliseconds since 1970; past ones mean at once.
    at_ms: u64,
}

/// Messages that are handed in together.
#[derive(ToSchema)]
pub(super) struct Messages {
    /// 1 to 1000 of them.
    messages: Vec<NewMessage>,
    /// The least level that is accepted: `memory`, `os` or `sync`.
    level: Option<String>,
}

/// A message that is handed in.
#[derive(ToSchema)]
pub(super) struct NewMessage {
    /// Its bytes.
    payload: json::Payload,
    /// Pairs of name and value, or an object.
    headers: Option<Vec<(String, String)>>,
    /// How long it may wait.
    ttl_ms: Option<u64>,
    /// How long it stays hidden at first.
    delay_ms: Option<u64>,
    /// Until when it stays hidden at first.
    deliver_at: Option<u64>,
    /// 0 to 9, 9 first.
    #[schema(minimum = 0, maximum = 9, default = 5)]
    priority: Option<u8>,
    /// What order and fairness refer to.
    group: Option<String>,
    /// What limits refer to; at most 4.
    keys: Option<Vec<String>>,
    /// What it counts for in limits and fairness.
    #[schema(minimum = 1, maximum = 1000, default = 1)]
    cost: Option<u16>,
    /// Makes a second publish with the same id a duplicate.
    dedupe_id: Option<String>,
}

/// What a receive wants.
#[derive(ToSchema)]
pub(super) struct Receive {
    /// At most so many messages.
    #[schema(minimum = 1, maximum = 1000, default = 1)]
    max: Option<u32>,
    /// How long to wait for the first one.
    wait_ms: Option<u64>,
    /// Time to settle each; else the queue's.
    lease_ms: Option<u64>,
    /// What a subscription listens to.
    pattern: Option<String>,
}

/// Leases that end: their messages have been dealt with.
#[derive(ToSchema)]
pub(super) struct Ack {
    /// 1 to 1000, as they came with the messages.
    tokens: Vec<String>,
}

/// Leases that end: their messages are given back.
#[derive(ToSchema)]
pub(super) struct Nack {
    /// 1 to 1000, as they came with the messages.
    tokens: Vec<String>,
    /// `failed`, `released`, `rejected` or `throttled`.
    #[schema(default = "failed")]
    outcome: Option<String>,
    /// Replaces the backoff, or hides what is released.
    delay_ms: Option<u64>,
    /// Kept as the message's last error.
    note: Option<String>,
    /// With `throttled`: how long the key is paused; else longer each time.
    retry_after_ms: Option<u64>,
    /// With `throttled`: which key; else the message's first.
    key: Option<String>,
}

/// Leases that live longer.
#[derive(ToSchema)]
pub(super) struct Extend {
    /// 1 to 1000, as they came with the messages.
    tokens: Vec<String>,
    /// How long from now.
    #[schema(minimum = 1, maximum = 43200000)]
    by_ms: u64,
}

/// What a durable subscription is to be like.
#[derive(ToSchema)]
pub(super) struct Subscribe {
    /// Which topics: `*` is one token, a final `>` one or more.
    pattern: String,
    /// What its queue is to be like; that needs the grant admin.
    settings: Option<BTreeMap<String, json::Value>>,
}

/// A server-sent event.
#[derive(ToSchema)]
pub(super) struct Event {
    /// What happened.
    event: String,
    /// More of it, in JSON.
    data: String,
    /// By which a stream is resumed, where it can be.
    id: Option<String>,
}

/// It is done.
#[derive(ToSchema)]
pub(super) struct Done {}

/// How the newest backup stands.
#[derive(ToSchema)]
pub(super) struct Backup {
    /// The how-manieth since the broker started; 0 for none.
    number: u64,
    /// `never`, `running`, `done` or `failed`.
    state: String,
    /// Bytes copied.
    done_bytes: Option<u64>,
    /// Bytes in all; 0 while that is not known.
    total_bytes: Option<u64>,
    /// What the broker called it.
    name: Option<String>,
    /// Bytes of its files.
    bytes: Option<u64>,
    /// The last record in it.
    last_record: Option<u64>,
    /// How long it took.
    took_ms: Option<u64>,
    /// Parts of the log that no message needs and that are not in it.
    skipped: Option<Vec<String>>,
    /// Older ones that made room for it.
    removed: Option<Vec<String>>,
    /// What kind of failure.
    code: Option<String>,
    /// Why it failed.
    reason: Option<String>,
}
