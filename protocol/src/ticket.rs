//! One-time pairing tickets: their text, the proof that a joiner holds one, and the words both ends compare.

use data_encoding::{BASE32_NOPAD, Specification};
use serde::{Deserialize, Serialize};

use crate::fault::{Misbehaved, Reason};
use crate::id::{FeedId, SiteId};
use crate::limits::{LABEL_BYTES_MAX, PAIRING_FRAME_BYTES_MAX, TICKET_ADDRESSES_MAX, TICKET_FEEDS_MAX};
use crate::op::Genesis;
use crate::package::{FeedKind, check_feed_name};
use crate::succession::Succession;
use crate::switches::Switches;
use crate::time::Timestamp;

const PREFIX: &str = "pb1";
const CHECKSUM_CONTEXT: &str = "packetboat 2026-11 ticket checksum v1";
const NAME_CONTEXT: &str = "packetboat 2026-11 ticket name v1";
const PROOF_CONTEXT: &str = "packetboat 2026-11 ticket proof v1";
const WORDS_CONTEXT: &str = "packetboat 2026-11 check words v1";

/// A feed that a ticket offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name at the inviting site.
    pub feed: String,
    /// Which feed it is, so that the joiner knows beforehand whether it has it under that name.
    pub id: FeedId,
    pub kind: FeedKind,
    /// What the joiner may do, in the joiner's terms.
    pub may: Switches,
}

/// An invitation that one site may use once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The inviting site: the joiner connects to its keys and no others.
    pub site: SiteId,
    /// The inviting site's name, for people.
    pub name: String,
    /// `host:port`, tried in order.
    pub addresses: Vec<String>,
    pub secret: [u8; 16],
    pub expires: Timestamp,
    pub offers: Vec<Offer>,
    /// What the joiner may do in each feed that the inviting site has or comes by later; none: the offered ones only.
    pub every: Option<Switches>,
    /// The inviting site's keys that followed the first.
    pub succession: Succession,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("site", &self.site)
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .field("expires", &self.expires)
            .field("offers", &self.offers)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// Why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum TicketError {
    #[error("a ticket begins with {PREFIX}: copy it whole")]
    Prefix,
    #[error("the ticket has a character that no ticket has: copy it whole")]
    Alphabet,
    #[error("the ticket's checksum does not match: a character is missing or changed")]
    Checksum,
    #[error("the ticket is of another release or malformed")]
    Malformed,
}

/// The name under which the inviting site remembers a ticket, which gives nothing of the secret away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Name alone could be anything's")]
pub struct TicketName(pub [u8; 16]);

impl Ticket {
    /// The text people pass on.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = postcard::to_allocvec(self).expect("a plain value always encodes into memory");
        let sum = blake3::derive_key(CHECKSUM_CONTEXT, &bytes);
        bytes.extend(sum.iter().take(4));
        format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    /// A ticket from its text. Case and surrounding space do not matter.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let lower = text.trim().to_ascii_lowercase();
        let rest = lower.strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        let bytes = lower_base32().decode(rest.as_bytes()).map_err(|_at| TicketError::Alphabet)?;
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(TicketError::Malformed)?;
        if !blake3::derive_key(CHECKSUM_CONTEXT, body).starts_with(sum) {
            return Err(TicketError::Checksum);
        }
        let (ticket, rest) =
            postcard::take_from_bytes::<Self>(body).map_err(|_shape| TicketError::Malformed)?;
        let sound = rest.is_empty()
            && ticket.name.len() <= LABEL_BYTES_MAX
            && ticket.addresses.len() <= TICKET_ADDRESSES_MAX
            && ticket.offers.len() <= TICKET_FEEDS_MAX
            && ticket.succession.check(ticket.site).is_ok()
            && ticket.offers.iter().all(|offer| check_feed_name(&offer.feed).is_ok());
        if sound { Ok(ticket) } else { Err(TicketError::Malformed) }
    }

    /// What the inviting site stores in place of the secret.
    #[must_use]
    pub fn ticket_name(&self) -> TicketName {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(blake3::derive_key(NAME_CONTEXT, &self.secret)) {
            *to = from;
        }
        TicketName(name)
    }

    /// The key both ends derive from the secret; the inviting site keeps this, not the secret.
    #[must_use]
    pub fn proof_key(&self) -> [u8; 32] {
        blake3::derive_key(PROOF_CONTEXT, &self.secret)
    }
}

fn lower_base32() -> data_encoding::Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().expect("thirty-two distinct symbols are a base32 alphabet")
}

/// The proof of the secret, bound to this one TLS connection (`exporter`) and this one joiner.
#[must_use]
pub fn prove(proof_key: &[u8; 32], exporter: &[u8; 32], joiner: SiteId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(proof_key);
    hasher.update(exporter);
    hasher.update(&joiner.0);
    *hasher.finalize().as_bytes()
}

/// Whether a proof is right, in constant time.
#[must_use]
pub fn proved(proof_key: &[u8; 32], exporter: &[u8; 32], joiner: SiteId, proof: [u8; 32]) -> bool {
    blake3::Hash::from_bytes(prove(proof_key, exporter, joiner)) == blake3::Hash::from_bytes(proof)
}

/// Four pronounceable words that are the same at both ends exactly when both see the same two keys.
#[must_use]
pub fn check_words(one: SiteId, other: SiteId) -> String {
    let (low, high) = if one < other { (one, other) } else { (other, one) };
    let mut both = low.0.to_vec();
    both.extend(high.0);
    let hash = blake3::derive_key(WORDS_CONTEXT, &both);
    let words: Vec<String> = hash
        .chunks_exact(2)
        .take(4)
        .map(|pair| word(pair.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte))))
        .collect();
    words.join("-")
}

/// Sixteen bits as consonant, vowel, consonant, vowel, consonant.
fn word(bits: u16) -> String {
    const CONSONANTS: [char; 16] =
        ['b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
    const VOWELS: [char; 4] = ['a', 'i', 'o', 'u'];
    let consonant = |shift: u16| CONSONANTS.get(usize::from(bits >> shift & 15)).copied();
    let vowel = |shift: u16| VOWELS.get(usize::from(bits >> shift & 3)).copied();
    [consonant(12), vowel(10), consonant(6), vowel(4), consonant(0)].into_iter().flatten().collect()
}

/// What a joiner says on a pairing connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    pub ticket: TicketName,
    pub proof: [u8; 32],
    /// The joiner's name, for people.
    pub name: String,
    /// The joiner: the connection's key is one of its keys.
    pub site: SiteId,
    /// The joiner's keys that followed the first.
    pub succession: Succession,
}

/// A feed as it is handed to a new member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    pub genesis: Genesis,
    /// Its name at the inviting site.
    pub feed: String,
    /// What the joiner may do, in the joiner's terms.
    pub may: Switches,
}

/// What the inviting site answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    Admitted { name: String, feeds: Vec<Admitted>, every: Option<Switches> },
    Refused(Reason),
}

fn encoded<T: Serialize>(body: &T) -> Vec<u8> {
    postcard::to_allocvec(body).expect("a plain value always encodes into memory")
}

/// A value from exactly the bytes that encode it: there is one form and nothing after it.
fn decoded<T: Serialize + for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Misbehaved> {
    if bytes.len() > PAIRING_FRAME_BYTES_MAX {
        return Err(Misbehaved::FrameTooLong);
    }
    match postcard::take_from_bytes::<T>(bytes) {
        Ok((value, [])) if encoded(&value) == bytes => Ok(value),
        Ok(_) | Err(_) => Err(Misbehaved::FrameMalformed),
    }
}

/// A name that a site gives itself.
fn own_name(name: &str) -> Result<(), Misbehaved> {
    let bad = name.len() > LABEL_BYTES_MAX || name.chars().any(char::is_control);
    if bad { Err(Misbehaved::NameInvalid) } else { Ok(()) }
}

impl Joining {
    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(self)
    }

    /// What a joiner says, from its bytes, with the name within its limits.
    ///
    /// # Errors
    /// How the joiner broke the rules.
    pub fn decode(bytes: &[u8]) -> Result<Self, Misbehaved> {
        let joining: Self = decoded(bytes)?;
        own_name(&joining.name)?;
        joining.succession.check(joining.site).map_err(|_forged| Misbehaved::FrameMalformed)?;
        Ok(joining)
    }

    /// Whether this is one of the joiner's keys.
    #[must_use]
    pub fn has_key(&self, key: SiteId) -> bool {
        self.succession.keys(self.site).contains(&key)
    }
}

impl JoinAnswer {
    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(self)
    }

    /// What the inviting site answers, from its bytes, with every count and name within its limits.
    ///
    /// # Errors
    /// How the inviting site broke the rules.
    pub fn decode(bytes: &[u8]) -> Result<Self, Misbehaved> {
        let answer: Self = decoded(bytes)?;
        if let Self::Admitted { name, feeds, .. } = &answer {
            own_name(name)?;
            if feeds.len() > TICKET_FEEDS_MAX {
                return Err(Misbehaved::FrameMalformed);
            }
            for feed in feeds {
                let fits = check_feed_name(&feed.feed).is_ok() && check_feed_name(&feed.genesis.name).is_ok();
                if !fits {
                    return Err(Misbehaved::NameInvalid);
                }
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            site: SiteId([0x11; 32]),
            name: "New York".to_owned(),
            addresses: vec!["203.0.113.7:7440".to_owned()],
            secret: [0x22; 16],
            expires: Timestamp(1_795_000_000_000),
            offers: vec![Offer {
                feed: "tools".to_owned(),
                id: FeedId([0x33; 32]),
                kind: FeedKind::Raw,
                may: Switches::PULL,
            }],
            every: None,
            succession: Succession::NONE,
        }
    }

    #[test]
    fn a_ticket_survives_being_pasted() {
        let text = ticket().to_text();
        assert_eq!(Ticket::parse(&format!("  {}\n", text.to_uppercase())), Ok(ticket()));
        assert!(text.len() < 250, "{} characters", text.len());
        assert!(!format!("{:?}", ticket()).contains("34, 34"), "the secret is not printed");
    }

    #[test]
    fn a_ticket_with_a_slip_is_refused_with_what_is_wrong() {
        let text = ticket().to_text();
        assert_eq!(Ticket::parse("hello"), Err(TicketError::Prefix));
        assert_eq!(Ticket::parse("pb1!!"), Err(TicketError::Alphabet));
        let mut slipped: Vec<char> = text.chars().collect();
        slipped[20] = if slipped[20] == 'a' { 'b' } else { 'a' };
        let slipped: String = slipped.into_iter().collect();
        assert_eq!(Ticket::parse(&slipped), Err(TicketError::Checksum));
        assert!(Ticket::parse(&text[..text.len() - 8]).is_err());
    }

    #[test]
    fn a_ticket_holds_so_many_addresses_and_feeds_and_so_long_a_name_and_no_more() {
        let of = |addresses: usize, offers: usize, name: usize| {
            let mut ticket = ticket();
            ticket.addresses = vec![ticket.addresses[0].clone(); addresses];
            ticket.offers = vec![ticket.offers[0].clone(); offers];
            ticket.name = "x".repeat(name);
            Ticket::parse(&ticket.to_text()).map(drop)
        };
        assert_eq!(of(TICKET_ADDRESSES_MAX, TICKET_FEEDS_MAX, LABEL_BYTES_MAX), Ok(()));
        assert_eq!(of(TICKET_ADDRESSES_MAX + 1, 1, 1), Err(TicketError::Malformed));
        assert_eq!(of(1, TICKET_FEEDS_MAX + 1, 1), Err(TicketError::Malformed));
        assert_eq!(of(1, 1, LABEL_BYTES_MAX + 1), Err(TicketError::Malformed));
    }

    #[test]
    fn a_proof_is_good_for_one_connection_and_one_joiner() {
        let key = ticket().proof_key();
        let proof = prove(&key, &[1; 32], SiteId([3; 32]));
        assert!(proved(&key, &[1; 32], SiteId([3; 32]), proof));
        assert!(!proved(&key, &[2; 32], SiteId([3; 32]), proof));
        assert!(!proved(&key, &[1; 32], SiteId([4; 32]), proof));
        assert!(!proved(&[0; 32], &[1; 32], SiteId([3; 32]), proof));
    }

    #[test]
    fn check_words_are_the_same_at_both_ends() {
        let (one, other) = (SiteId([1; 32]), SiteId([2; 32]));
        assert_eq!(check_words(one, other), check_words(other, one));
        assert_ne!(check_words(one, other), check_words(one, SiteId([3; 32])));
        assert_eq!(check_words(one, other).split('-').count(), 4);
    }

    fn joining() -> Joining {
        Joining {
            ticket: ticket().ticket_name(),
            proof: [7; 32],
            name: "Tokyo".to_owned(),
            site: SiteId([0x44; 32]),
            succession: Succession::NONE,
        }
    }

    fn admitted() -> Admitted {
        let genesis = Genesis {
            kind: FeedKind::Raw,
            name: "tools".to_owned(),
            origin: SiteId([1; 32]),
            second_origin: None,
            reuse: false,
            overwrite: false,
            created: Timestamp(1_795_000_000_000),
            nonce: [0; 16],
        };
        Admitted { genesis, feed: "tools".to_owned(), may: Switches::PULL }
    }

    #[test]
    fn what_is_said_while_pairing_reads_back() {
        assert_eq!(Joining::decode(&joining().encode()), Ok(joining()));
        let yes = JoinAnswer::Admitted { name: "New York".to_owned(), feeds: vec![admitted()], every: None };
        let no = JoinAnswer::Refused(Reason::TicketUsed);
        assert_eq!(JoinAnswer::decode(&yes.encode()), Ok(yes));
        assert_eq!(JoinAnswer::decode(&no.encode()), Ok(no));
    }

    #[test]
    fn a_pairing_frame_has_one_form_and_keeps_the_limits() {
        let mut longer = joining().encode();
        longer.push(0);
        assert_eq!(Joining::decode(&longer), Err(Misbehaved::FrameMalformed));
        assert_eq!(Joining::decode(&longer[..20]), Err(Misbehaved::FrameMalformed));
        // The variant 1, and the reason 0 in two bytes where one would do.
        assert_eq!(JoinAnswer::decode(&[1, 0x80, 0]), Err(Misbehaved::FrameMalformed));
        assert_eq!(JoinAnswer::decode(&[1, 0]), Ok(JoinAnswer::Refused(Reason::SameSite)));
        let named = |name: &str| Joining { name: name.to_owned(), ..joining() }.encode();
        assert_eq!(Joining::decode(&named(&"x".repeat(LABEL_BYTES_MAX + 1))), Err(Misbehaved::NameInvalid));
        assert_eq!(Joining::decode(&named("a\nb")), Err(Misbehaved::NameInvalid));
        let feeds = vec![admitted(); TICKET_FEEDS_MAX + 1];
        let many = JoinAnswer::Admitted { name: String::new(), feeds, every: None };
        assert_eq!(JoinAnswer::decode(&many.encode()), Err(Misbehaved::FrameMalformed));
        let long = vec![0; PAIRING_FRAME_BYTES_MAX + 1];
        assert_eq!(JoinAnswer::decode(&long), Err(Misbehaved::FrameTooLong));
    }
}
