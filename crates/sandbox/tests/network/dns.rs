//! A name server of the internet, and asking one.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use simple_dns::rdata::{A, CNAME, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use crate::machine::{DNS, METADATA, OTHER, PRIVATE, PUBLIC};

const PATIENCE: Duration = Duration::from_secs(8);
/// How many addresses `big.example` has: too many for one datagram.
pub(crate) const MANY: u8 = 100;

/// What a name stands for whose owner wants to get somewhere by it, one after the other.
pub(crate) const REBOUND: [Ipv4Addr; 3] = [PUBLIC, METADATA, PRIVATE];

/// What the server says of a name, asked for it for the `turn`th time; `None` if it says nothing at all.
fn addresses(name: &str, turn: usize) -> Option<Vec<Ipv4Addr>> {
    Some(match name {
        "rebound.example" => vec![*REBOUND.get(turn).unwrap_or(&METADATA)],
        "both.example" => vec![PUBLIC, METADATA],
        "public.example" | "alias.example" | "a.sub.example" => vec![PUBLIC],
        "other.example" => vec![OTHER],
        "private.example" => vec![PRIVATE],
        "rebind.example" => vec![METADATA],
        "big.example" => (0..MANY).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect(),
        "silent.example" => return None,
        _ => Vec::new(),
    })
}

fn answer(asked: &[u8], most: usize, turns: &mut HashMap<String, usize>) -> Option<Vec<u8>> {
    let packet = Packet::parse(asked).ok()?;
    let name = packet.questions.first()?.qname.to_string().to_ascii_lowercase();
    let turn = turns.entry(name.clone()).or_default();
    let addresses = addresses(&name, *turn)?;
    *turn += 1;
    let mut reply = packet.clone().into_reply();
    *reply.opt_mut() = None;
    if addresses.is_empty() {
        *reply.rcode_mut() = RCODE::NameError;
    }
    let owner = if name == "alias.example" {
        let alias = RData::CNAME(CNAME(Name::new("public.example").unwrap()));
        reply.answers.push(ResourceRecord::new(Name::new("alias.example").unwrap(), CLASS::IN, 1, alias));
        "public.example"
    } else {
        &name
    };
    for address in addresses {
        let address = RData::A(A { address: address.to_bits() });
        reply.answers.push(ResourceRecord::new(Name::new(owner).unwrap(), CLASS::IN, 1, address));
    }
    let bytes = reply.build_bytes_vec_compressed().unwrap();
    if bytes.len() <= most {
        return Some(bytes);
    }
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    reply.build_bytes_vec_compressed().ok()
}

/// Answers questions at this address.
pub(crate) fn serve_names(address: Ipv4Addr) {
    let socket = UdpSocket::bind((address, DNS)).unwrap();
    thread::spawn(move || {
        let mut message = [0; 2048];
        let mut turns = HashMap::new();
        while let Ok((length, from)) = socket.recv_from(&mut message) {
            if let Some(answer) = answer(&message[..length], 512, &mut turns) {
                // Noise first: what has another number is nobody's answer.
                let mut noise = answer.clone();
                noise[0] ^= 0xff;
                let _ = socket.send_to(&noise, from);
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    let listener = TcpListener::bind((address, DNS)).unwrap();
    thread::spawn(move || {
        let mut turns = HashMap::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let Ok(asked) = framed(&mut stream) else { continue };
            if let Some(answer) = answer(&asked, usize::MAX, &mut turns) {
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&length[..], &answer].concat());
            }
        }
    });
}

fn framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

pub(crate) fn question(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(4711);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let class = QCLASS::CLASS(CLASS::IN);
    packet.questions.push(Question::new(Name::new(name).unwrap(), QTYPE::TYPE(TYPE::A), class, false));
    packet.build_bytes_vec().unwrap()
}

/// The addresses in an answer, or its code as an error.
fn read(answer: &[u8]) -> io::Result<Vec<Ipv4Addr>> {
    let packet = Packet::parse(answer).map_err(|error| io::Error::other(format!("{error:?}")))?;
    assert_eq!(packet.id(), 4711);
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Err(io::Error::other("Truncated"));
    }
    if packet.rcode() != RCODE::NoError {
        return Err(io::Error::other(format!("{:?}", packet.rcode())));
    }
    let address = |record: &ResourceRecord<'_>| match &record.rdata {
        RData::A(address) => Some(Ipv4Addr::from_bits(address.address)),
        _ => None,
    };
    Ok(packet.answers.iter().filter_map(address).collect())
}

/// Asks the name server at `server` for a name, over UDP.
pub(crate) fn ask_udp(server: Ipv4Addr, name: &str) -> io::Result<Vec<Ipv4Addr>> {
    ask_udp_within(PATIENCE, server, name)
}

/// The same for so long.
pub(crate) fn ask_udp_within(patience: Duration, server: Ipv4Addr, name: &str) -> io::Result<Vec<Ipv4Addr>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect((server, DNS))?;
    socket.send(&question(name))?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    read(&answer[..length])
}

/// The same over TCP.
pub(crate) fn ask_tcp(server: Ipv4Addr, name: &str) -> io::Result<Vec<Ipv4Addr>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddrV4::new(server, DNS).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = question(name);
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &question].concat())?;
    read(&framed(&mut stream)?)
}
