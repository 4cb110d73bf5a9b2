CREATE TABLE customer (
  id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- citext compares without regard to case: Ann@example.com and ann@example.com are one customer.
  email      citext      NOT NULL UNIQUE CHECK (email LIKE '%_@_%'),
  full_name  text        NOT NULL CHECK (btrim(full_name) <> ''),
  created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE customer IS 'People who have an account in the shop';
COMMENT ON COLUMN customer.email IS 'Login name; case does not count';
