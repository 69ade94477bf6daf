//! sluice-model
