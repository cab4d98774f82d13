//! How a session begins on a connection: by the settings of its link as they are at that moment.

use protocol::fault::{Outcome, Reason};
use protocol::link::Link;
use protocol::session::Side;
use quinn::Connection;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::sessions::{ConnectError, Spoken, tell};
use super::twins::twin_of;
use super::{Node, locked};
use crate::keeper::wall_clock;
use crate::transport::endpoint::key_of;
use crate::transport::pump::{Command, drive};

impl Node {
    /// Begins a session of a link with the site that was dialled, or called, for it: by the link's settings as they are now, whatever they
    /// were then. Who changes them ends the sessions that there are, and this one is from here on.
    pub(super) fn attach(
        &self,
        asked: &Link,
        side: Side,
        connection: Connection,
    ) -> Result<UnboundedSender<Command>, ConnectError> {
        let Some(share) = self.inner.endpoint.share(&connection) else {
            connection.close(Outcome::Refused(Reason::Busy).close_code().into(), b"too many sessions");
            return Err(ConnectError::Full);
        };
        let (commands, commanded) = unbounded_channel();
        let (happening, happenings) = unbounded_channel();
        let (link, config, turn) = loop {
            let twin = self.twin(&asked.name);
            let link = self.with_link(&asked.name, |state| state.link.clone());
            let link =
                link.filter(|link| link.peer == asked.peer && link.is_outgoing() == asked.is_outgoing());
            let link = link.ok_or_else(|| ConnectError::Gone(asked.name.clone()))?;
            // Who calls is refused with that reason; nobody refuses who dials. A forecast is had over a link that was paused before as well.
            if link.paused && !asked.paused && side == Side::Dialler {
                connection.close(Outcome::Interrupted.close_code().into(), b"the link was paused");
                return Err(ConnectError::Paused(link.name));
            }
            let config = self.config(&link, side)?;
            if let Some(turn) = self.begun(&link, twin.as_ref(), &commands) {
                break (link, config, turn);
            }
        };
        let (told, shown) = (config.keys.mine.generation(), key_of(&connection));
        let keeper = self.inner.site.keeper(&link);
        tell(&commands, Command::Pace(super::hours::caps(&link, wall_clock())));
        drop(drive(connection, share, config, Box::new(keeper), commanded, happening));
        let node = self.clone();
        tokio::spawn(async move { node.follow(link, Spoken { turn, told, shown }, happenings).await });
        Ok(commands)
    }

    /// Makes a session that of its link, unless the settings of the link or of its twin are others than those it was made by. Gives its turn.
    fn begun(&self, by: &Link, twin: Option<&Link>, commands: &UnboundedSender<Command>) -> Option<u64> {
        let mut links = locked(&self.inner.links);
        if twin_of(&links, &by.name).as_ref() != twin {
            return None;
        }
        let state = links.get_mut(&by.name).filter(|state| state.link == *by)?;
        if let Some(old) = state.commands.replace(commands.clone()) {
            // The other site came anew, so its old connection is dead, whether this end knows or not.
            tell(&old, Command::Close(Outcome::Interrupted));
        }
        state.questions.lost();
        state.shown = Some(self.inner.endpoint.shown());
        state.turn += 1;
        Some(state.turn)
    }
}
