//! The limits of requests as a running broker takes them: before the doors are bound they are kept,
//! from then on they are put in force.

use std::sync::Arc;

use parking_lot::Mutex;
use sluice_server::{AdmissionConfig, ConfigError, Intake};

/// Where a reload hands limits in.
#[derive(Clone)]
pub(crate) struct LiveLimits(Arc<Mutex<State>>);

struct State {
    limits: AdmissionConfig,
    /// What they are put in force at; none until the doors are bound.
    intake: Option<Arc<Intake>>,
}

impl LiveLimits {
    pub(crate) fn new(limits: AdmissionConfig) -> Self {
        Self(Arc::new(Mutex::new(State { limits, intake: None })))
    }

    /// The doors are bound; what was handed in so far is in force from now on.
    pub(crate) fn open(&self, intake: Arc<Intake>) -> Result<(), ConfigError> {
        let state = &mut *self.0.lock();
        intake.change(&state.limits)?;
        state.intake = Some(intake);
        Ok(())
    }

    /// Hands other limits in.
    pub(crate) fn change(&self, limits: AdmissionConfig) -> Result<(), ConfigError> {
        let state = &mut *self.0.lock();
        if let Some(intake) = &state.intake {
            intake.change(&limits)?;
        }
        state.limits = limits;
        Ok(())
    }
}
