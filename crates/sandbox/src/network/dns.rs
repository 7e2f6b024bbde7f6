//! Questions of sandboxes to name servers, and what comes back: reading what strangers send, and writing it anew.
//!
//! Nothing of a question goes on but its name, type and class; nothing of an answer comes back that is not one to it.

use std::net::Ipv4Addr;
use std::time::Duration;

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, RCODE};

/// Longest question that is read.
pub const MAX_QUESTION: usize = 1024;
/// Longest answer over UDP that is asked for: what crosses every network in one piece.
const UDP_ANSWER: u16 = 1232;
/// What those get that do not say how much they take.
const PLAIN_ANSWER: u16 = 512;
const HEADER: usize = 12;
/// The shortest record: a name of one byte, and ten bytes.
const RECORD: usize = 11;
/// Most names that an answer leads through.
const MAX_NAMES: usize = 16;
/// Most addresses that are taken from an answer.
const MAX_ADDRESSES: usize = 64;

/// A question that may be asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// How whoever asks tells answers apart.
    id: u16,
    question: simple_dns::Question<'static>,
    /// Longest answer over UDP that they take, if they say so.
    takes: Option<u16>,
    flags: PacketFlag,
}

/// An answer that belongs to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As it came, for whoever asked.
    pub bytes: Vec<u8>,
    /// The addresses that the name stands for, and for how long.
    pub addresses: Vec<(Ipv4Addr, Duration)>,
}

/// Why a question is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody may ask for that name.
    Refused,
    /// No name server has given an answer.
    Failed,
}

/// Whether a message is long enough for all that its head says is in it: nothing is made room for before.
fn is_plausible(bytes: &[u8]) -> bool {
    let Some(head) = bytes.first_chunk::<HEADER>() else { return false };
    let [_, _, _, _, q1, q2, a1, a2, n1, n2, r1, r2] = *head;
    let count = |pair| usize::from(u16::from_be_bytes(pair));
    let records = count([a1, a2]) + count([n1, n2]) + count([r1, r2]);
    count([q1, q2]) == 1 && records <= bytes.len().saturating_sub(HEADER) / RECORD
}

impl Question {
    /// Reads what a sandbox sent; `None` for what is no question, or one that name servers of today do not take.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_QUESTION || !is_plausible(bytes) {
            return None;
        }
        let packet = Packet::parse(bytes).ok()?;
        let is_question = !packet.has_flags(PacketFlag::RESPONSE) && packet.opcode() == OPCODE::StandardQuery;
        let question = packet.questions.first().filter(|_| is_question)?;
        let carried =
            PacketFlag::RECURSION_DESIRED | PacketFlag::CHECKING_DISABLED | PacketFlag::AUTHENTIC_DATA;
        let mut flags = PacketFlag::empty();
        for flag in carried.iter().filter(|flag| packet.has_flags(*flag)) {
            flags |= flag;
        }
        let takes = packet.opt().map(|opt| opt.udp_packet_size.clamp(PLAIN_ANSWER, UDP_ANSWER));
        let question = simple_dns::Question { unicast_response: false, ..question.clone().into_owned() };
        Some(Self { id: packet.id(), question, takes, flags })
    }

    /// The name that is asked for, as it is written; `None` for one that is no host's.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        host_name(&self.question.qname)
    }

    /// The question as the node asks it under this number.
    #[must_use]
    pub fn asked(&self, id: u16) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(id);
        packet.set_flags(self.flags);
        packet.questions.push(self.question.clone());
        *packet.opt_mut() =
            self.takes.map(|size| OPT { opt_codes: Vec::new(), udp_packet_size: size, version: 0 });
        packet.build_bytes_vec().ok()
    }

    /// What a name server sent, if it is the answer to the question that was asked under this number.
    #[must_use]
    pub fn answered(&self, id: u16, bytes: &[u8]) -> Option<Answer> {
        if !is_plausible(bytes) {
            return None;
        }
        let packet = Packet::parse(bytes).ok()?;
        let question = packet.questions.first()?;
        let belongs = packet.id() == id
            && packet.has_flags(PacketFlag::RESPONSE)
            && question.qname == self.question.qname
            && question.qtype == self.question.qtype
            && question.qclass == self.question.qclass;
        if !belongs || packet.rcode() == RCODE::FormatError {
            return None;
        }
        let addresses = self.addresses(&packet);
        let mut bytes = bytes.to_vec();
        if let Some(number) = bytes.first_chunk_mut::<2>() {
            *number = self.id.to_be_bytes();
        }
        Some(Answer { bytes, addresses })
    }

    /// Addresses that the name leads to, by aliases too. What else lies in an answer says nothing about the name.
    fn addresses(&self, packet: &Packet<'_>) -> Vec<(Ipv4Addr, Duration)> {
        if self.question.qclass != QCLASS::CLASS(CLASS::IN) {
            return Vec::new();
        }
        let mut names: Vec<Name<'_>> = vec![self.question.qname.clone()];
        // Aliases may come in any order.
        for _ in 0..MAX_NAMES {
            let alias = packet.answers.iter().find_map(|record| match &record.rdata {
                RData::CNAME(alias) if names.contains(&record.name) && !names.contains(&alias.0) => {
                    Some(alias.0.clone())
                }
                _ => None,
            });
            match alias {
                Some(alias) => names.push(alias),
                None => break,
            }
        }
        let addresses =
            packet.answers.iter().filter(|record| names.contains(&record.name)).filter_map(|record| {
                match &record.rdata {
                    RData::A(address) => Some((
                        Ipv4Addr::from_bits(address.address),
                        Duration::from_secs(u64::from(record.ttl)),
                    )),
                    _ => None,
                }
            });
        addresses.take(MAX_ADDRESSES).collect()
    }

    /// The answer over UDP: whole, or if it is too long for whoever asked, the word that it can be had over TCP.
    #[must_use]
    pub fn over_udp(&self, answer: Vec<u8>) -> Option<Vec<u8>> {
        if answer.len() <= usize::from(self.takes.unwrap_or(PLAIN_ANSWER)) {
            return Some(answer);
        }
        let mut packet = self.reply(RCODE::NoError);
        packet.set_flags(PacketFlag::TRUNCATION);
        packet.build_bytes_vec().ok()
    }

    /// The answer that there is none.
    #[must_use]
    pub fn refused(&self, why: Refusal) -> Option<Vec<u8>> {
        let code = match why {
            Refusal::Refused => RCODE::Refused,
            Refusal::Failed => RCODE::ServerFailure,
        };
        self.reply(code).build_bytes_vec().ok()
    }

    fn reply(&self, code: RCODE) -> Packet<'static> {
        let mut packet = Packet::new_reply(self.id);
        packet.set_flags(PacketFlag::RECURSION_AVAILABLE | self.flags);
        *packet.rcode_mut() = code;
        packet.questions.push(self.question.clone());
        packet
    }
}

/// A name of letters, digits, dashes and underscores, with dots between its parts.
fn host_name(name: &Name<'_>) -> Option<String> {
    let mut text = String::new();
    for label in name.as_bytes() {
        let label = std::str::from_utf8(label).ok()?;
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::rdata::{A, CNAME};
    use simple_dns::{Label, QTYPE, ResourceRecord, TYPE};

    use super::*;

    fn asking(name: &str) -> Packet<'_> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let class = QCLASS::CLASS(CLASS::IN);
        let name = Name::new(name).unwrap();
        packet.questions.push(simple_dns::Question::new(name, QTYPE::TYPE(TYPE::A), class, false));
        packet
    }

    fn question(name: &str) -> Question {
        Question::read(&asking(name).build_bytes_vec().unwrap()).unwrap()
    }

    fn address(name: &'static str, last: u8, ttl: u32) -> ResourceRecord<'static> {
        let address = A { address: Ipv4Addr::new(203, 0, 113, last).to_bits() };
        ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, ttl, RData::A(address))
    }

    fn alias(name: &'static str, of: &'static str) -> ResourceRecord<'static> {
        let alias = CNAME(Name::new(of).unwrap());
        ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, 60, RData::CNAME(alias))
    }

    fn answer(to: &Question, id: u16, records: Vec<ResourceRecord<'static>>) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        packet.questions.push(to.question.clone());
        packet.answers = records;
        packet.build_bytes_vec_compressed().unwrap()
    }

    #[test]
    fn a_question_goes_on_under_another_number_with_nothing_but_itself() {
        let mut packet = asking("a.example");
        packet.additional_records.push(address("b.example", 1, 1));
        let question = Question::read(&packet.build_bytes_vec().unwrap()).unwrap();
        assert_eq!(question.name().as_deref(), Some("a.example"));
        let asked = question.asked(99).unwrap();
        let asked = Packet::parse(&asked).unwrap();
        assert_eq!((asked.id(), asked.questions.len(), asked.additional_records.len()), (99, 1, 0));
        assert!(asked.has_flags(PacketFlag::RECURSION_DESIRED) && asked.opt().is_none());
    }

    #[test]
    fn what_is_no_question_is_not_read() {
        let plain = asking("a.example").build_bytes_vec().unwrap();
        assert!(Question::read(&plain).is_some());
        let mut reply = asking("a.example").into_reply().build_bytes_vec().unwrap();
        assert!(Question::read(&reply).is_none());
        reply.truncate(5);
        assert!(Question::read(&reply).is_none());
        let mut none = plain.clone();
        none[5] = 0;
        assert!(Question::read(&none).is_none());
        let mut update = plain.clone();
        update[2] |= 5 << 3;
        assert!(Question::read(&update).is_none());
        // A head that promises what does not follow is not made room for.
        let mut promising = plain.clone();
        promising[6..12].fill(0xff);
        assert!(Question::read(&promising).is_none());
        let long = [plain, vec![0; MAX_QUESTION]].concat();
        assert!(Question::read(&long).is_none());
    }

    #[test]
    fn an_answer_belongs_to_its_question() {
        let question = question("a.example");
        let good = answer(&question, 99, vec![address("A.example", 1, 30)]);
        let answered = question.answered(99, &good).unwrap();
        assert_eq!(answered.addresses, [(Ipv4Addr::new(203, 0, 113, 1), Duration::from_secs(30))]);
        assert_eq!(answered.bytes[..2], 7u16.to_be_bytes());
        assert_eq!(answered.bytes[2..], good[2..]);
        assert_eq!(question.answered(98, &good), None, "another number");
        let other = super::tests::question("b.example");
        assert_eq!(other.answered(99, &good), None, "another name");
        assert_eq!(question.answered(99, &question.asked(99).unwrap()), None, "a question");
        assert_eq!(question.answered(99, b""), None);
    }

    #[test]
    fn only_what_the_name_leads_to_is_its_address() {
        let question = question("a.example");
        let records = vec![
            address("c.example", 3, 20),
            address("stray.example", 9, 10),
            alias("b.example", "c.example"),
            alias("a.example", "b.example"),
            alias("c.example", "a.example"),
            alias("stray.example", "other.example"),
            address("other.example", 8, 10),
        ];
        let answered = question.answered(1, &answer(&question, 1, records)).unwrap();
        assert_eq!(answered.addresses, [(Ipv4Addr::new(203, 0, 113, 3), Duration::from_secs(20))]);
    }

    #[test]
    fn a_long_answer_is_to_be_had_over_tcp() {
        let question = question("a.example");
        let records: Vec<_> = (0..40).map(|last| address("a.example", last, 1)).collect();
        let whole = question.answered(1, &answer(&question, 1, records)).unwrap().bytes;
        assert!(whole.len() > 512);
        let short = question.over_udp(whole).unwrap();
        let short = Packet::parse(&short).unwrap();
        assert!(short.has_flags(PacketFlag::TRUNCATION) && short.id() == 7 && short.answers.is_empty());
        assert_eq!(question.over_udp(vec![1; 512]), Some(vec![1; 512]));
        let mut packet = asking("a.example");
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 65535, version: 0 });
        let question = Question::read(&packet.build_bytes_vec().unwrap()).unwrap();
        assert_eq!(question.over_udp(vec![1; 1232]), Some(vec![1; 1232]));
        assert_ne!(question.over_udp(vec![1; 1233]), Some(vec![1; 1233]));
    }

    #[test]
    fn a_refusal_says_which() {
        let question = question("a.example");
        for (why, code) in [(Refusal::Refused, RCODE::Refused), (Refusal::Failed, RCODE::ServerFailure)] {
            let bytes = question.refused(why).unwrap();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.rcode(), packet.id(), packet.questions.len()), (code, 7, 1));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn nothing_that_is_sent_does_harm(
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let question = question("a.sub.example");
            let spoilt = |mut bytes: Vec<u8>| {
                for (place, value) in &places {
                    let place = place.index(bytes.len());
                    bytes[place] = *value;
                }
                bytes.truncate(cut.index(bytes.len() * 4).max(1));
                bytes
            };
            let asked = spoilt(question.asked(7).unwrap());
            if let Some(read) = Question::read(&asked) {
                prop_assert!(Question::read(&read.asked(1).unwrap()).is_some());
                prop_assert!(read.refused(Refusal::Failed).is_some());
            }
            let records = vec![alias("a.sub.example", "b.example"), address("b.example", 1, 1)];
            let answer = spoilt(answer(&question, 1, records));
            if let Some(answered) = question.answered(1, &answer) {
                prop_assert_eq!(&answered.bytes[2..], &answer[2..]);
            }
        }
    }

    #[test]
    fn strange_names_are_no_hosts() {
        let labels = [Label::new(&b"a.b"[..]).unwrap(), Label::new(&b"example"[..]).unwrap()];
        assert_eq!(host_name(&Name::new_with_labels(&labels)), None);
        assert_eq!(host_name(&Name::new(".").unwrap()), None);
    }
}
