-- See to it that a group has a position, and that it is kept.
--
-- KEYS[1], KEYS[2], ARGV[1] to ARGV[4]: see stream.lua
-- ARGV[5]  for how many ms the position is kept from now on, at least
-- Returns epoch and offset.

local epoch, offset = position()
keep(KEYS[1], ARGV[5])
return {epoch, offset}
