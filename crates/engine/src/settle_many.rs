//! Settling many deliveries with one request, each by itself.

use sluice_model::{Answer, Confirm, Refusal, SessionId, SettleMany, Settlement};

use crate::engine::{Engine, Turn};
use crate::journal::Need;
use crate::settle::How;

impl Engine {
    /// Settles deliveries, or takes more time for them, as far as their leases hold.
    pub(crate) fn settle_many(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        many: &SettleMany,
    ) {
        let how = match &many.how {
            Settlement::Ack => How::Ack,
            Settlement::Nack(outcome) => How::Nack(outcome),
            Settlement::Extend(by) => How::Extend(*by),
        };
        let (mut need, mut refused, mut deadline) = (Need::NONE, Vec::new(), None);
        for (at, lease) in (0..).zip(&many.leases) {
            match self.settle_one(turn, lease, how) {
                Ok((answer, its_need)) => {
                    need.cover(its_need);
                    if let Answer::Extended { deadline: its_deadline } = answer {
                        let sooner = deadline.is_none_or(|deadline| its_deadline < deadline);
                        deadline = if sooner { Some(its_deadline) } else { deadline };
                    }
                }
                Err((code, text)) => {
                    self.stats.refused += 1;
                    refused.push((at, Refusal::new(code, text)));
                }
            }
        }
        if let Some(state) = self.sessions.get_mut(&session) {
            state.need.cover(need);
        }
        if many.confirm == Confirm::Always || !refused.is_empty() {
            let answer = Answer::SettledMany { refused, deadline };
            self.reply(turn.effects, session, tag, answer, need);
        }
    }
}
