//! Reply codes as NACK codes of version 1: one table.

use sluice_model::Code;

/// The NACK code that tells `code`.
pub(crate) const fn nack_code(code: Code) -> u16 {
    match code {
        Code::BadRequest
        | Code::MethodNotAllowed
        | Code::Timeout
        | Code::Conflict
        | Code::Gone
        | Code::Misdirected
        | Code::Invalid => 400,
        Code::Unauthenticated => 401,
        Code::Forbidden => 403,
        Code::NotFound | Code::LeaseLost => 404,
        Code::TooLarge => 413,
        Code::Version => 426,
        Code::QueueFull | Code::RateLimited => 429,
        Code::Internal | Code::Indeterminate | Code::NoSpace => 500,
        Code::Overloaded | Code::ShuttingDown => 503,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_knows_every_code_that_is_sent() {
        let known = [400, 401, 403, 404, 413, 426, 429, 500, 503];
        for &code in Code::ALL {
            assert!(known.contains(&nack_code(code)), "{code}");
        }
    }
}
