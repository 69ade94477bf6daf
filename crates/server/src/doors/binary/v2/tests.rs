//! The session by table: frames in, requests and frames out.
