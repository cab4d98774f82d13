//! The packetboat node: store, transport, gateways and command line around the rules in `protocol`.

pub mod config;
pub mod events;
pub mod identity;
pub mod logs;
pub mod store;
mod webhook;

pub mod backup;
pub mod keeper;
pub mod publish;
pub mod scheduler;
pub mod statement;
pub mod transport;

pub mod api;
pub mod gateway;
pub mod web;

pub mod demo;
pub mod node;

pub mod cli;
