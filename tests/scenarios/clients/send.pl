# Sends what is on standard input by Net::SMTP: HOST PORT SENDER RECIPIENTS TIMES.
# Prints each reply that decides something; ends with 1 when a message was not taken.
use strict;
use warnings;
use Net::SMTP;

my ($host, $port, $sender, $recipients, $times) = @ARGV;
binmode STDIN;
my $content = do { local $/; <STDIN> };
my $smtp = Net::SMTP->new($host, Port => $port, Hello => 'client.example') or die "no greeting\n";
my $status = 0;

sub told {
    my ($what) = @_;
    my $text = join '', $smtp->message;
    $text =~ s/\s*\n/ /g;
    print "$what: ", $smtp->code, " $text\n";
}

for (1 .. $times) {
    my %options = (Size => length $content);
    $options{Bits} = 8 if $content =~ /[^\0-\x7f]/;
    my $taken = $smtp->mail($sender, %options);
    told('MAIL');
    if ($taken) {
        my @good = $smtp->to(split(/,/, $recipients), {SkipBad => 1});
        print "taken for @good\n";
        $taken = @good && $smtp->data && $smtp->datasend($content) && $smtp->dataend;
        told('last');
    }
    $status = 1 unless $taken;
    $smtp->reset unless $taken;
}
$smtp->quit;
exit $status;
