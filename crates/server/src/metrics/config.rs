//! The settings of metrics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Settings of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether they have a listener of their own.
    pub listens: bool,
    /// Where that is; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Most queues that are shown one by one; of the others the sum is.
    pub queues_max: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            listens: false,
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100),
            queues_max: 1_000,
        }
    }
}
