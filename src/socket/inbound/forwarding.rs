//! Handing on what is received as it is on the wire.

use super::{RecvHalf, LOOK_EVERY};
use crate::io::Counters;
use crate::pipe::{Reach, Run};
use crate::socket::wire::{Parcel, Rule, WireSink, PUBLISH_EVERY};

impl RecvHalf {
    /// Hands on messages, about `most` of them, and a copy of each to `copies`, in the order in which they would be
    /// received one by one. It ends early where a closer look is needed: at a message that is not in one piece,
    /// or that cannot be sent now.
    pub(in crate::socket) fn forward(
        &mut self,
        rule: &mut Rule<'_>,
        to: &mut dyn WireSink,
        mut copies: Option<&mut (dyn WireSink + '_)>,
        most: u64,
    ) -> Run {
        to.begin();
        if let Some(copies) = &mut copies {
            copies.begin();
        }
        let mut forwarded = Run::default();
        let mut passed = 0;
        let mut parcels = 0;
        while passed < most {
            let Some((messages, sent)) =
                self.forward_parcel(rule, to, copies.as_deref_mut(), most - passed)
            else {
                break;
            };
            passed += messages;
            forwarded += sent;
            parcels += 1;
            if parcels % PUBLISH_EVERY == 0 {
                to.publish();
                if let Some(copies) = &mut copies {
                    copies.publish();
                }
            }
        }
        to.publish();
        if let Some(copies) = copies {
            copies.publish();
        }
        forwarded
    }

    /// How many messages were passed, and what was sent; `None` to end.
    #[inline]
    fn forward_parcel(
        &mut self,
        rule: &mut Rule<'_>,
        to: &mut dyn WireSink,
        mut copies: Option<&mut (dyn WireSink + '_)>,
        most: u64,
    ) -> Option<(u64, Run)> {
        // Who is gone by now may have left what is to be seen to, before anybody is given more.
        if to.is_outdated() || copies.as_ref().is_some_and(|copies| copies.is_outdated()) {
            return None;
        }
        let most = match self.readable.len() {
            1 => rule.at_once(most),
            _ => 1,
        };
        // Before anything is looked at, as whoever takes a message only where there is room for it.
        let mut reach = to.allowance(most)?;
        if let Some(copies) = &mut copies {
            reach = reach.within(copies.allowance(reach.messages)?);
        }
        if self.since_look >= LOOK_EVERY {
            self.look();
        }
        if !self.has_next() {
            return None;
        }
        let key = self.readable.current()?;
        if self.readable.len() > 1 {
            reach = reach.within(Reach::ONE);
        }
        let slot = self.pipes.get_mut(key.index as usize);
        let reader = &mut slot.and_then(Option::as_mut)?.reader;
        if reader.is_conflating() {
            return None;
        }
        let span = reader.span(reach)?;
        let octets = reader.lend_span(span);
        let mut sent = Run::default();
        if rule.wants(octets.first_body()) {
            let parcel = Parcel::new(rule.head(key)?, octets, span.run());
            if !to.admits(&parcel) || copies.as_mut().is_some_and(|to| !to.admits(&parcel)) {
                return None;
            }
            to.take(&parcel);
            if let Some(copies) = copies {
                copies.take(&parcel);
            }
            sent = parcel.run();
        }
        reader.pass(span);
        self.from = key;
        self.readable.advance();
        let messages = span.run().messages;
        self.since_look = self.since_look.saturating_add(messages as u32);
        Counters::add_owned(&self.port.counters.messages_received, messages);
        Some((messages, sent))
    }
}
