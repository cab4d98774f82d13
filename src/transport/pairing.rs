//! Pairing over a connection of its own: the joiner's one frame, the inviting site's one answer.

use std::time::Duration;

use bytes::Bytes;
use protocol::fault::{Misbehaved, Outcome, Reason};
use protocol::id::SiteId;
use protocol::limits::PAIRING_MS_MAX;
use protocol::succession::Succession;
use protocol::ticket::{JoinAnswer, Joining, Ticket, prove};
use quinn::{Connection, ConnectionError, RecvStream, VarInt};
use tokio::time::timeout;

use super::endpoint::{is_refusal, key_of};
use super::framing::{ReadFrameError, WriteFrameError, read_frame, write_frame};
use super::tls::WrongSite;

#[cfg(test)]
mod tests;

const EXPORTER_LABEL: &[u8] = b"packetboat pairing v1";
const PATIENCE: Duration = Duration::from_millis(PAIRING_MS_MAX);
const CLOSE_DONE: VarInt = VarInt::from_u32(0);
/// What a site closes with that hears as many joiners as it may. Who is heard is told any refusal in the answer.
const CLOSE_BUSY: VarInt = VarInt::from_u32(Outcome::Refused(Reason::Busy).close_code());

/// Why a joiner got no answer.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Someone else than the ticket's site answered.
    #[error("the ticket is of another site")]
    WrongSite(#[source] WrongSite),
    /// The link broke.
    #[error("the inviting site cannot be reached any more; try again")]
    Unreachable(#[source] ConnectionError),
    /// The inviting site let nobody in, or hung up.
    #[error("the inviting site has no ticket open or hung up before it answered; ask for a fresh ticket")]
    ClosedEarly,
    /// As many joiners as there may be are being heard.
    #[error("the inviting site hears as many joiners as it can at once")]
    Busy,
    /// No answer came in time.
    #[error("the inviting site did not answer within {PAIRING_MS_MAX} ms; try again")]
    Silent,
    /// The answer is none.
    #[error("the inviting site's answer does not read: is it of another release?")]
    Malformed(#[source] Misbehaved),
}

/// Why a joiner was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The joiner's connection went.
    #[error("joiner {joiner} went away")]
    Gone { joiner: SiteId },
    /// The joiner said nothing, or did not take the answer.
    #[error("joiner {joiner} was silent for {PAIRING_MS_MAX} ms")]
    Silent { joiner: SiteId },
    /// What the joiner said is nothing a joiner says.
    #[error("joiner {joiner} broke the rules")]
    Malformed { joiner: SiteId, source: Misbehaved },
}

/// The joining site.
#[derive(Debug, Clone)]
pub struct Joiner {
    pub site: SiteId,
    /// Its name, for people.
    pub name: String,
    /// Its keys that followed the first.
    pub succession: Succession,
    /// The key that it shows on the connection.
    pub shown: SiteId,
}

/// Proves the ticket to its site and takes the answer, which may be a refusal with its reason.
/// The connection, of the pairing protocol, is closed at the end.
///
/// # Errors
/// [`JoinError`]
pub async fn join(connection: &Connection, ticket: &Ticket, me: &Joiner) -> Result<JoinAnswer, JoinError> {
    let found = key_of(connection).unwrap_or(me.shown);
    let outcome = if ticket.succession.keys(ticket.site).contains(&found) {
        match timeout(PATIENCE, asked(connection, ticket, me)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(JoinError::Silent),
        }
    } else {
        Err(JoinError::WrongSite(WrongSite { expected: ticket.site, found }))
    };
    connection.close(CLOSE_DONE, b"");
    outcome
}

async fn asked(connection: &Connection, ticket: &Ticket, me: &Joiner) -> Result<JoinAnswer, JoinError> {
    let exporter = exporter(connection).ok_or(JoinError::ClosedEarly)?;
    let proof = prove(&ticket.proof_key(), &exporter, me.shown);
    let (name, succession) = (me.name.clone(), me.succession.clone());
    let joining = Joining { ticket: ticket.ticket_name(), proof, name, site: me.site, succession };
    let (mut send, mut receive) = connection.open_bi().await.map_err(gone)?;
    match write_frame(&mut send, &joining.encode()).await {
        Ok(()) => drop(send.finish()),
        // What became of the connection is told by the read.
        Err(WriteFrameError::Broken(_)) => {}
        Err(WriteFrameError::Oversized { .. }) => return Err(JoinError::Malformed(Misbehaved::NameInvalid)),
    }
    match one_frame(connection, &mut receive).await {
        Frame::Whole(frame) => JoinAnswer::decode(&frame).map_err(JoinError::Malformed),
        Frame::Faulty(fault) => Err(JoinError::Malformed(fault)),
        Frame::None => Err(connection.close_reason().map_or(JoinError::ClosedEarly, gone)),
    }
}

fn gone(error: ConnectionError) -> JoinError {
    if is_refusal(&error) {
        return JoinError::ClosedEarly;
    }
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == CLOSE_BUSY => JoinError::Busy,
        ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => {
            JoinError::ClosedEarly
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => JoinError::Unreachable(error),
    }
}

/// Hears what the joiner with the key `peer` says, lets `decide` judge it, and sends the answer. `decide` is
/// given the TLS exporter that the proof is bound to. The connection is closed at the end.
///
/// # Errors
/// [`AdmitError`]
pub async fn admit<D, A>(connection: &Connection, peer: SiteId, decide: D) -> Result<(), AdmitError>
where
    D: FnOnce(Joining, [u8; 32]) -> A,
    A: Future<Output = JoinAnswer>,
{
    let outcome = answered(connection, peer, decide).await;
    connection.close(CLOSE_DONE, b"");
    outcome
}

async fn answered<D, A>(connection: &Connection, peer: SiteId, decide: D) -> Result<(), AdmitError>
where
    D: FnOnce(Joining, [u8; 32]) -> A,
    A: Future<Output = JoinAnswer>,
{
    let silent = |_elapsed| AdmitError::Silent { joiner: peer };
    let malformed = |source| AdmitError::Malformed { joiner: peer, source };
    let hearing = async {
        let (send, mut receive) = connection.accept_bi().await.ok()?;
        Some((send, one_frame(connection, &mut receive).await))
    };
    let heard = timeout(PATIENCE, hearing).await.map_err(silent)?;
    let (mut send, frame) = heard.ok_or(AdmitError::Gone { joiner: peer })?;
    let joining = match frame {
        Frame::Whole(frame) => Joining::decode(&frame).map_err(malformed)?,
        Frame::Faulty(fault) => return Err(malformed(fault)),
        Frame::None => return Err(AdmitError::Gone { joiner: peer }),
    };
    if !joining.has_key(peer) {
        return Err(malformed(Misbehaved::FrameMalformed));
    }
    let exporter = exporter(connection).ok_or(AdmitError::Gone { joiner: peer })?;
    let answer = decide(joining, exporter).await;
    let telling = async {
        write_frame(&mut send, &answer.encode()).await.ok()?;
        send.finish().ok()?;
        // The joiner closes when it has read the answer; its acknowledgement may come with that.
        drop(send.stopped().await);
        Some(())
    };
    let told = timeout(PATIENCE, telling).await.map_err(silent)?;
    told.ok_or(AdmitError::Gone { joiner: peer })
}

enum Frame {
    Whole(Bytes),
    Faulty(Misbehaved),
    None,
}

async fn one_frame(connection: &Connection, stream: &mut RecvStream) -> Frame {
    match read_frame(stream).await {
        Ok(Some(frame)) => Frame::Whole(frame),
        Ok(None) => Frame::None,
        Err(ReadFrameError::Oversized { .. }) => Frame::Faulty(Misbehaved::FrameTooLong),
        Err(ReadFrameError::Truncated { .. }) => Frame::Faulty(Misbehaved::FrameTruncated),
        Err(ReadFrameError::Broken(_)) if connection.close_reason().is_none() => {
            Frame::Faulty(Misbehaved::FrameTruncated)
        }
        Err(ReadFrameError::Broken(_)) => Frame::None,
    }
}

/// Thirty-two bytes that both ends of this one TLS connection know and nobody else.
fn exporter(connection: &Connection) -> Option<[u8; 32]> {
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").ok().map(|()| exporter)
}
