"""What Postfix's configuration says, as postconf(1) prints it; nothing of greylist's."""
