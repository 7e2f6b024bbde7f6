//! What servers answer the load generator: replies in pieces. How they are cut changes nothing, and no more of a body is
//! passed on than there is.
//!
//! The first byte of an input says how large the pieces are, and by its lowest bit whether the request was a `HEAD`.

use chasen_loadgen::reply::{Broken, Decoder};

/// A reply that was read: status, whether the connection stays, the activation, the body.
type Reply = (u16, bool, Option<u128>, Vec<u8>);

pub(crate) fn read(input: &[u8]) {
    let [sort, said @ ..] = input else { return };
    let is_head = sort & 1 == 1;
    let whole = in_pieces(said, said.len().max(1), is_head);
    let cut = in_pieces(said, usize::from(sort >> 1).max(1), is_head);
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (Err(_), Err(_)) => {}
        _ => panic!("{whole:?} as a whole, and {cut:?} in pieces"),
    }
    if let Ok((status, .., body)) = whole {
        assert!((200..1000).contains(&status), "{status}");
        assert!(body.len() <= said.len());
        assert!(!is_head || body.is_empty());
    }
}

/// Reads as a connection does: what was not used is given again with more behind it.
fn in_pieces(said: &[u8], size: usize, is_head: bool) -> Result<Reply, Broken> {
    let mut decoder = Decoder::new(is_head);
    let (mut held, mut body) = (Vec::new(), Vec::new());
    for piece in said.chunks(size) {
        held.extend_from_slice(piece);
        let used = decoder.decode(&held, &mut |part| body.extend_from_slice(part))?;
        assert!(used <= held.len());
        held.drain(..used);
        if decoder.is_done() {
            break;
        }
    }
    decoder.end()?;
    Ok((decoder.status, decoder.keep_alive, decoder.activation, body))
}
