//! sluice-wal
