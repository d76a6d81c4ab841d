//! What calls are about: a number that vouches for itself, so that a request which was changed on its way is known for
//! that, and is not taken for another one that somebody has made.

use sinew::Message;

use crate::common::Random;

/// The request of this number.
pub(crate) fn request(number: u64) -> Message {
    vouched(number).into()
}

/// The number of a request; none if nobody has made it so.
pub(crate) fn number_of(request: &Message) -> Option<u64> {
    let octets = request.as_bytes().first_chunk()?;
    let number = u64::from_be_bytes(*octets);
    (request.as_bytes() == vouched(number)).then_some(number)
}

/// The reply to the request of this number.
pub(crate) fn answer(number: u64) -> Message {
    Message::multipart([&b"answer"[..], &vouched(number)])
}

/// The reply to a request that nobody has made so.
pub(crate) fn rubbish() -> Message {
    "rubbish".into()
}

/// The number and what is drawn from it: another number with what belongs to it is not met by chance.
fn vouched(number: u64) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&number.to_be_bytes());
    octets[8..].copy_from_slice(&Random::new(number).next_u64().to_be_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fuzz::mutated;

    #[test]
    fn what_was_changed_is_nobodys() {
        let mut random = Random::new(1);
        for number in 0..10_000 {
            let before = request(number);
            assert_eq!(number_of(&before), Some(number));
            let after = Message::from(mutated(before.as_bytes(), &mut random));
            assert!(after == before || number_of(&after).is_none(), "{after:?}");
        }
    }
}
