#!/usr/bin/env perl
# The arguments come as JSON in the first argument; the last line printed is the result.
use strict;
use warnings;
use JSON::PP;

my $args = decode_json($ARGV[0] // '{}');
my $name = $args->{name} // 'stranger';
print encode_json({ greeting => "Hello, $name!" }), "\n";
