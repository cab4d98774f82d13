//! The rules of packetboat: values and state machines. No clock, no disk, no socket, no async: time and randomness are arguments.

pub mod id;
pub mod limits;
pub mod time;

pub mod fault;
pub mod manifest;
pub mod package;

pub mod log;
pub mod op;
pub mod signature;
pub mod succession;

pub mod brake;
pub mod feed;
pub mod filter;
pub mod fork;
pub mod grant;
pub mod lag;
pub mod ledger;
pub mod link;
pub mod lives;
pub mod reference;
pub mod statistics;
pub mod switches;
pub mod ticket;
pub mod timetable;
pub mod topology;

pub mod outline;
pub mod range;
pub mod reconcile;
pub mod summary;
pub mod transfer;

pub mod frame;
pub mod session;
