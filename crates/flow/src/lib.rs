//! sluice-flow
