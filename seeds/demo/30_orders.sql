-- One order in each state.
WITH placed (email, status, placed_at, shipped_at) AS (
  VALUES ('ada@example.com',   'shipped',   timestamptz '2025-04-01 10:00+00', timestamptz '2025-04-02 08:00+00'),
         ('ada@example.com',   'paid',      timestamptz '2025-05-05 11:00+00', NULL),
         ('bela@example.com',  'open',      timestamptz '2025-05-06 12:00+00', NULL),
         ('chidi@example.com', 'cancelled', timestamptz '2025-05-07 13:00+00', NULL)
)
INSERT INTO purchase_order (customer_id, currency, status, placed_at, shipped_at)
SELECT customer.id, 'EUR', placed.status, placed.placed_at, placed.shipped_at
  FROM placed JOIN customer USING (email)
 ORDER BY placed.placed_at;

WITH line (placed_at, line_number, sku, quantity) AS (
  VALUES (timestamptz '2025-04-01 10:00+00', 1, 'MUG-BLUE',  2),
         (timestamptz '2025-04-01 10:00+00', 2, 'TEA-GREEN', 1),
         (timestamptz '2025-05-05 11:00+00', 1, 'POT-2L',    1),
         (timestamptz '2025-05-06 12:00+00', 1, 'MUG-RED',   4),
         (timestamptz '2025-05-07 13:00+00', 1, 'TEA-2024',  1)
)
INSERT INTO order_line (purchase_order_id, line_number, product_id, quantity, unit_price)
SELECT purchase_order.id, line.line_number, product.id, line.quantity, product.price
  FROM line JOIN purchase_order USING (placed_at) JOIN product USING (sku);

INSERT INTO payment (purchase_order_id, amount, provider, provider_reference, received_at)
SELECT purchase_order.id, sum(order_line.line_total), 'demo', 'DEMO-' || purchase_order.id, placed_at + interval '1 minute'
  FROM purchase_order JOIN order_line ON order_line.purchase_order_id = purchase_order.id
 WHERE status IN ('paid', 'shipped')
 GROUP BY purchase_order.id, placed_at;
