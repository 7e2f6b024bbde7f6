//! Messages of the domain name system: questions that sandboxes send, and answers that come from anywhere.

use chasen_sandbox::network::dns::{Question, Refusal};

/// Under which number the node asks.
const NUMBER: u16 = 0x4242;

/// Takes the input as a question, and behind its first two bytes, which say how long that is, as an answer to one.
pub(crate) fn messages(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let (asked, answer) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    let Some(question) = Question::read(asked) else { return };
    let on = question.asked(NUMBER).expect("what was read is written");
    let again = Question::read(&on).expect("what was written is read");
    assert_eq!(again.name(), question.name());
    assert_eq!(again.asked(NUMBER), Some(on));
    for why in [Refusal::Refused, Refusal::Failed] {
        let refused = question.refused(why).expect("a refusal is written");
        assert!(Question::read(&refused).is_none(), "an answer is no question");
    }
    if let Some(answered) = question.answered(NUMBER, answer) {
        assert_eq!(answered.bytes.len(), answer.len());
        assert_eq!(answered.bytes[..2], asked[..2], "under the number of whoever asked");
        assert_eq!(answered.bytes[2..], answer[2..]);
        assert!(answered.addresses.len() <= 64);
        let over_udp =
            question.over_udp(answered.bytes).expect("an answer is written, or that it is too long");
        assert!(over_udp.len() <= 1232);
    }
}
